"""CorrGRPO: the centred sum of the rewards, divided by what their correlations add up to."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import field, frozen
from torch import Tensor

from morl.advantage import (
    ConstantWeighting,
    Deviations,
    Groups,
    aligned,
    group_deviations,
    in_order,
    snapped,
    weighted_sums,
    weights_of,
)
from morl.advantage.options import DEFAULT_EPS, check_eps
from morl.advantage.scope import Scope, scope_of_parts
from morl.advantage.weighting import check_weighting
from morl.types import Advantages, RewardMatrix, Weights
from morl_estimators.options import number
from morl_estimators.statistics import in_units_of_rewards


@frozen
class CorrGRPO:
    """Correlation-normalised GRPO (arXiv 2609.36820).

        A_ij = sum_k (w_k r_ijk - mean_G w_k r_ik) / sqrt(max(sum_kl rho_kl, floor) + eps)

    rho is the Pearson correlation of w_k r_k and w_l r_l in the group.  The sum of all of them is the squared length of
    sum_k u_k, where u_k is the centred reward divided by its length; so it is computed, in time linear in K.  A reward
    that does not vary in the group is left out of it.  Where rewards cancel, the sum is 0 and the released formula,
    with floor 0, multiplies by up to 1 / sqrt(eps) = 1000; a floor of 1 never divides by less than one reward would.

    Read: the abstract, and the released code (`compute_grpo_covariance_coefficient_outcome_advantage`) as its README
    quotes it, which has these numbers with `floor` 0 and eps 1e-6 but for rewards whose variance is rounding.

    Args:
        eps: added under the root.
        floor: the least that the sum of correlations counts as.
        weighting: where the weights w_k come from.

    Raises:
        ConfigError: an option out of its range.

    Two rewards with correlation 1: the correlations add up to 4, and 3 - 0 is divided by 2.

    >>> CorrGRPO(eps=0)(RewardMatrix.from_groups(torch.tensor([[[0.0, 0.0], [1.0, 2.0]]]))).values_B
    tensor([-0.7500,  0.7500])
    """

    min_group_size: ClassVar[int] = 2

    eps: float = field(default=DEFAULT_EPS, validator=check_eps)
    floor: float = 0.0
    weighting: Weights = field(factory=ConstantWeighting, validator=check_weighting)

    @property
    def scope(self) -> Scope:
        """`group` with a weighting that is: no completion of another prompt matters."""
        return scope_of_parts("group", self.weighting)

    def __attrs_post_init__(self) -> None:
        number("floor of corr-grpo", self.floor, least=0)

    @in_order
    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        groups = Groups.of(rewards.group_ids_B)
        weights = weights_of(self.weighting, rewards)
        parts = group_deviations(rewards, groups, weights)
        under_P = correlations(parts, groups, weights).clamp(min=self.floor) + self.eps
        over_P = torch.where(under_P > 0, under_P.sqrt(), torch.inf)
        sums = weighted_sums(rewards, groups, weights, parts)
        return in_units_of_rewards(sums, groups, over_P, rewards.values_BK.dtype)


def correlations(parts: Deviations, groups: Groups, weights: Tensor) -> Tensor:
    """Sum (P,) of the Pearson correlations of all pairs of weighted rewards in each group, itself with itself too."""
    length_PK = parts.squares_PK.sqrt()
    length_PK = torch.where(length_PK > 0, length_PK, 1.0)
    signs, _ = aligned(weights.sign(), groups)
    units = groups.split(parts.units_BK) / groups.along(length_PK) * signs
    # A deviation off by e moves a unit by e / length, and through the length by up to sqrt(n) |u| e / length more.
    root = groups.along(groups.sizes_P.double().sqrt())[..., None]
    error = groups.along(parts.error_PK / length_PK) * (1 + root * units.abs())
    count = max(units.shape[-1], 1)
    totals_B = snapped(units.sum(-1), error.sum(-1)).view(-1) / count
    return groups.sum(totals_B.square()) * count**2
