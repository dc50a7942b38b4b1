"""Means over prompts, with confidence intervals.

Completions of one prompt resemble each other, so the prompt is the unit: whatever is measured becomes one number per
prompt, and what is drawn again and again by the bootstrap are prompts, never single completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import torch
from attrs import frozen
from torch import Tensor

from morl.analysis.statistics import LEVEL, RESAMPLES, bootstrap_interval

METHOD = (
    f"percentile bootstrap over prompts, {RESAMPLES} resamples, nominal coverage {LEVEL:.0%}, tails widened for small"
    " samples (Hesterberg 2015)"
)


@frozen
class Estimate:
    """A mean over prompts.

    Attributes:
        mean: None without a prompt.
        low, high: confidence interval; None with fewer than two prompts.
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


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of one value per prompt.

    >>> estimate([1.0, 1.0, 1.0])
    Estimate(mean=1.0, low=1.0, high=1.0, prompts=3)
    >>> print(estimate([0.25]), estimate([]))
    0.250 -
    """
    count = len(values)
    if count < 2:
        return Estimate(values[0] if count else None, None, None, count)
    mean = sum(sorted(values)) / count
    return Estimate(mean, *bootstrap_interval(values), count)


def prompt_means(values_B: Tensor, groups_B: Tensor) -> list[float]:
    """Mean of each prompt's values that are not NaN, for the prompts that have one.

    >>> prompt_means(torch.tensor([1.0, 0.0, torch.nan, torch.nan]), torch.tensor([0, 0, 1, 2]))
    [0.5]
    """
    counts_P, sums_P = _by_prompt(values_B, groups_B)
    return [float(mean) for mean in sums_P / counts_P]


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
