"""SAW: rewards count by their coefficient of variation over the batch."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from morl.types import RewardMatrix
from morl_estimators.options import bounds_given
from morl_estimators.statistics import batch_moments

_EPS = 1e-8
"""Added to the mean in the released code."""


@frozen
class SAW:
    """Stage-Aware Dynamic Weighting (arXiv 2606.07705).

        x_k = r_k - low_k,   cv_k = std_batch x_k / (|mean_batch x_k| + 1e-8)
        w_k <- w_k K cv_k / sum_l cv_l

    K is the number of rewards with weight.  `low` is the floor of the reward's bounds, so every reward with weight has
    to have some; the released code adds 3 to correctness and nothing to the format.  Where no reward varies in the
    batch, weights stay as they are.  The paper has two forms, on GRPO's rewards and on GDPO's normalised ones: the form
    is the estimator's, `grpo` or `gdpo`.

    Read: the abstract, and the released code (`grpo-h` and `gdpo-h` of its `ray_trainer.py`), which has two rewards,
    adds 1e-8 to the sum of the coefficients, too, and whitens tokens in its second form.

    Raises:
        ConfigError: a reward without bounds.

    Means 1/2 and 1/4 with deviations sqrt(1/3) and 1/2 over four completions: cv 1.1547 and 2.

    >>> from attrs import evolve
    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]))
    >>> SAW()(evolve(rewards, bounds={"r0": (0.0, 1.0), "r1": (0.0, 1.0)})).round(decimals=4).tolist()
    [0.7321, 1.2679]
    """

    requires_bounds: ClassVar[bool] = True

    def __call__(self, rewards: RewardMatrix) -> Tensor:
        """(K,), in the order of the names."""
        bounds_given("saw", rewards)
        weights_K = rewards.weights_K
        counts_K = weights_K != 0
        low_K = rewards.bounds_K2.nan_to_num()[:, 0]
        # Halved: a reward less its floor may be larger than numbers get; the ratio below does not see it.
        mean_K, std_K, peak_K = batch_moments(rewards.values_BK, rewards.valid_BK & counts_K, low_K)
        cv_K = std_K / (mean_K.abs() + _EPS / 2 / peak_K)
        total = cv_K.sum()
        if not total > 0:
            return weights_K
        return weights_K * torch.where(counts_K, counts_K.sum() * cv_K / total, 1.0)
