"""Means over prompts, with confidence intervals.

Completions of one prompt resemble each other, so the prompt is the unit: whatever is measured becomes one number per
prompt, and what is drawn again and again by the bootstrap are prompts, never single completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import torch
from attrs import frozen
from scipy import stats
from torch import Tensor

from morl.analysis.statistics import FEWEST_FOR_BOOTSTRAP, LEVEL, RESAMPLES, mean_interval

METHOD = (
    f"of the mean over prompts, nominal coverage {LEVEL:.0%}: percentile bootstrap, {RESAMPLES} resamples, tails"
    f" widened for small samples (Hesterberg 2015); Student's t below {FEWEST_FOR_BOOTSTRAP} prompts; where all"
    " prompts agree: Clopper-Pearson for shares of 0 and 1, none for other figures"
)


@frozen
class Estimate:
    """A mean over prompts.

    Attributes:
        mean: None without a prompt.
        low, high: confidence interval; None where there is none, see `estimate`.
        prompts: that it is the mean of.
    """

    mean: float | None
    low: float | None
    high: float | None
    prompts: int

    def text(self, digits: int) -> str:
        """The mean and its interval."""
        if self.mean is None:
            return "-"
        interval = "" if self.low is None else f" [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return f"{self.mean:.{digits}f}{interval}"

    def __str__(self) -> str:
        return self.text(3)


def estimate(values: Sequence[float], *, share: bool = False) -> Estimate:
    """Mean and interval of one value per prompt.

    Where all prompts have the same value, resampling shows no variance, which does not mean that there is none.  A
    share of 0 or 1 then gets the exact interval of a binomial share, with the prompts as trials; other figures get
    none, and neither does a single prompt.

    Args:
        values: one per prompt.
        share: whether they are shares, from 0 to 1.

    >>> print(estimate([0.0, 1.0, 1.0, 0.0], share=True), estimate([0.0] * 100, share=True))
    0.500 [0.000, 1.000] 0.000 [0.000, 0.036]
    >>> print(estimate([7.0, 7.0]), estimate([]))
    7.000 -
    """
    count = len(values)
    mean = sum(sorted(values)) / count if count else None
    if mean is None or count == 1:
        return Estimate(mean, None, None, count)
    if min(values) < max(values):
        low, high = mean_interval(values)
        # Student's interval knows nothing of the ends of a share.
        return Estimate(mean, max(0.0, low), min(1.0, high), count) if share else Estimate(mean, low, high, count)
    if share and mean in (0, 1):
        exact = stats.binomtest(int(mean) * count, count).proportion_ci(LEVEL, method="exact")
        return Estimate(mean, float(exact.low), float(exact.high), count)
    return Estimate(mean, None, None, count)


def prompt_means(values_B: Tensor, groups_B: Tensor) -> list[float]:
    """Mean of each prompt's values that are not NaN, for the prompts that have one.

    >>> prompt_means(torch.tensor([1.0, 0.0, torch.nan, torch.nan]), torch.tensor([0, 0, 1, 2]))
    [0.5]
    """
    return [*means_by_prompt(values_B, groups_B).values()]


def means_by_prompt(values_B: Tensor, groups_B: Tensor) -> dict[int, float]:
    """`prompt_means`, by prompt."""
    counts_P, sums_P = _by_prompt(values_B, groups_B)
    rows = torch.unique(groups_B[~values_B.isnan()])
    return dict(zip(rows.tolist(), (sums_P / counts_P).tolist(), strict=True))


def is_binary(values_B: Tensor) -> bool:
    """Whether there are values, and none but 0 and 1."""
    known = values_B[~values_B.isnan()]
    return len(known) > 0 and bool(((known == 0) | (known == 1)).all())


def pass_at_k(success_B: Tensor, groups_B: Tensor, k: int) -> list[float]:
    """Chance that one of k completions of a prompt is successful, for each prompt that has k.

    The unbiased estimator 1 - C(n - c, k) / C(n, k) for c successes among n completions (Chen et al., "Evaluating Large
    Language Models Trained on Code", arXiv 2107.03374, eq. 1).

    Args:
        success_B: 1 or 0; NaN where it is not known.
        groups_B: prompt of each completion.
        k: at least 1.

    >>> pass_at_k(torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([3, 3, 3, 3]), 2)
    [0.5]
    """
    assert k >= 1
    counts_P, successes_P = _by_prompt(success_B, groups_B)
    pairs = zip(counts_P.tolist(), successes_P.long().tolist(), strict=True)
    return [1 - comb(n - c, k) / comb(n, k) for n, c in pairs if n >= k]


def _by_prompt(values_B: Tensor, groups_B: Tensor) -> tuple[Tensor, Tensor]:
    """Number and sum of each prompt's values that are not NaN, in the order of the prompts that have any."""
    known = ~values_B.isnan()
    rows, index_B = torch.unique(groups_B[known], return_inverse=True)
    counts_P = torch.bincount(index_B, minlength=len(rows))
    sums_P = torch.zeros(len(rows), dtype=torch.float64).index_add_(0, index_B, values_B[known].double())
    return counts_P, sums_P
