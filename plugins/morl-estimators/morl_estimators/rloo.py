"""REINFORCE with a leave-one-out baseline."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import field, frozen

from morl.advantage import ConstantWeighting, Groups, in_order, weighted_sums, weights_of
from morl.advantage.scope import Scope, scope_of_parts
from morl.advantage.weighting import check_weighting
from morl.types import Advantages, RewardMatrix, Weights
from morl_estimators.statistics import in_units_of_rewards


@frozen
class RLOO:
    """Leave-one-out baseline (arXiv 2402.14740), for every reward before they are added.

        A_ij = sum_k w_k (r_ijk - mean of r_ilk over l != j)

    With n values of reward k in a group the bracket is n / (n - 1) times r - mean_G r, and so it is computed.  Without
    missing values n is G, and the result that of RLOO on the weighted sum.  A missing reward is left out of the
    baseline of the others and adds nothing; so does one that a single completion of a group has.

    Read: the estimator of Hugging Face's and verl's trainers, which agree with the paper's equation.

    Args:
        weighting: where the weights w_k come from.

    >>> RLOO()(RewardMatrix.from_groups(torch.tensor([[[0.0], [1.0], [5.0]]]))).values_B     # 0 - 3, 1 - 2.5, 5 - 0.5
    tensor([-3.0000, -1.5000,  4.5000])
    """

    min_group_size: ClassVar[int] = 2

    weighting: Weights = field(factory=ConstantWeighting, validator=check_weighting)

    @property
    def scope(self) -> Scope:
        """`group` with a weighting that is: no completion of another prompt matters."""
        return scope_of_parts("group", self.weighting)

    @in_order
    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        groups = Groups.of(rewards.group_ids_B)
        number_PK = groups.number(rewards.valid_BK)
        leave_one_out_PK = (number_PK / (number_PK - 1).clamp(min=1)).clamp(max=2)
        weights_BK = weights_of(self.weighting, rewards) * groups.rows(leave_one_out_PK)
        sums = weighted_sums(rewards, groups, weights_BK)
        return in_units_of_rewards(sums, groups, torch.ones_like(sums.scale_P), rewards.values_BK.dtype)
