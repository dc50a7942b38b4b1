"""REINFORCE with a leave-one-out baseline, reward by reward."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import evolve, frozen
from torch import Tensor

from morl.advantage import GRPONoStd
from morl.types import Advantages, RewardMatrix


@frozen
class RLOO:
    """Leave-one-out baseline (arXiv 2402.14740, section 3.3), applied to every reward before they are added.

        A_ij = sum_k w_k (r_ijk - mean of r_ilk over l != j)

    With n values of reward k in a group, r - mean_{l != j} r = n / (n - 1) * (r - mean_G r).  The second factor is what
    `grpo-no-std` calls the contribution of the reward, which is exactly 0 where a reward does not differ in a group and
    finite for rewards of any size; so it is taken from there.  Where no reward is missing, n is G for all of them, and
    the result is that of RLOO on the weighted sum.

    A missing reward is left out of the baseline of the others and adds nothing.  A reward that only one completion of a
    group has adds nothing there: nothing is left to compare it with.
    """

    min_group_size: ClassVar[int] = 2

    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        centred_BK = GRPONoStd()(evolve(rewards, values_BK=rewards.values_BK.double())).contributions_BK
        number_BK = _number(rewards)
        contributions_BK = _held_by(rewards.values_BK.dtype, number_BK / (number_BK - 1).clamp(min=1) * centred_BK)
        values_B = _held_by(rewards.values_BK.dtype, contributions_BK.double().sum(1))
        return Advantages(values_B, contributions_BK)


def _number(rewards: RewardMatrix) -> Tensor:
    """How many completions of its group have each reward, (B, K)."""
    ids_P, index_B = torch.unique(rewards.group_ids_B, return_inverse=True)
    valid_BK = rewards.valid_BK.double()
    return valid_BK.new_zeros(len(ids_P), valid_BK.shape[1]).index_add_(0, index_B, valid_BK)[index_B]


def _held_by(dtype: torch.dtype, values: Tensor) -> Tensor:
    """In `dtype`; what it cannot hold becomes its largest number instead of infinity."""
    largest = torch.finfo(dtype).max
    return values.clamp(-largest, largest).to(dtype)
