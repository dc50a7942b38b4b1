"""DARA: rewards that vary in few groups count more."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from attrs import field, frozen
from torch import Tensor

from morl.advantage import Groups, group_deviations
from morl.types import RewardMatrix
from morl_estimators.options import choice, number

Form = Literal["asym", "sym"]


@frozen
class DARA:
    """Density-Aware Reward Aggregation (arXiv 2610.00574).

        pi_k = share of the groups in which reward k varies
        d_k  = min(w_max, sqrt(max_l pi_l / pi_k)),  1 where pi_k = 0
        sym:   w_ik = w_k d_k
        asym:  w_ik = w_k d_k where w_k (r_ik - mean_G r_k) > 0, else w_k

    With `asym`, the paper's main form, completions of one group have different weights, so the sums of a group need not
    have the mean 0; the batch normalisation of `gdpo` then subtracts the mean of the batch, as the released code does.

    Read: the released code (`compute_advantages` in its folder math), whose rewards have no weights.

    Args:
        form: `asym`, or `sym`.
        w_max: the largest factor.

    Raises:
        ConfigError: another form; `w_max` that is not a finite number of 1 or more.

    The first reward varies in both groups, the second in one of two: its factor is sqrt(2) where it helps.

    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 5.0], [1.0, 5.0]]]))
    >>> DARA()(rewards).round(decimals=4).tolist()
    [[1.0, 1.0], [1.0, 1.4142], [1.0, 1.0], [1.0, 1.0]]
    >>> DARA(form="sym")(rewards).round(decimals=4).tolist()
    [1.0, 1.4142]
    """

    form: Form = "asym"
    w_max: float = field(default=5.0)

    def __attrs_post_init__(self) -> None:
        choice("form of dara", self.form, get_args(Form))
        number("w_max of dara", self.w_max, least=1)

    def __call__(self, rewards: RewardMatrix) -> Tensor:
        """(K,), or (B, K) where completions differ."""
        groups = Groups.of(rewards.group_ids_B)
        parts = group_deviations(rewards, groups)
        density_K = (parts.number_PK > 0).sum(0).double()  # of groups, not their share: only ratios matter
        factor_K = (density_K.max() / density_K).sqrt().clamp(max=self.w_max)
        factor_K = torch.where(density_K > 0, factor_K, 1.0)
        weights_K = rewards.weights_K
        if self.form == "sym" or (factor_K == 1).all():
            return weights_K * factor_K
        helps = groups.split(parts.units_BK.mul_(weights_K.sign())) > groups.along(parts.error_PK)
        return torch.where(helps, weights_K * factor_K, weights_K).view_as(parts.units_BK)
