"""Advantages from the non-dominated rank in the group."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import field, frozen
from torch import Tensor

from morl.advantage import GRPO, Groups, finite, group_deviations
from morl.advantage.options import DEFAULT_EPS, check_ddof, check_eps
from morl.advantage.scope import Scope
from morl.types import Advantages, RewardMatrix


@frozen
class ParetoRank:
    """Pareto ranks within the group, normalised (the second stage of ParetoPO, arXiv 2606.16111).

        rank 1: completions that no other of the group dominates; rank 2: those that only rank 1 dominates; ..
        A_ij = (mean_G rank_i - rank_ij) / (std_G rank_i + eps)

    One dominates another if it is no worse by any reward and better by some.  Only the direction of a weight matters:
    negative turns the reward round, 0 leaves it out.  Completions are compared by the rewards that both have; where
    missing rewards make a circle of this, all that are in it or behind it share a rank.  What a rank is made of cannot
    be told apart, so contributions are equal parts, in proportion to the size of the weights, over the rewards of the
    completion that vary in its group.

    Takes time and memory in proportion to the square of the largest group.

    Read: the abstract and notes; whether the paper normalises ranks in just this way is not known.

    Args:
        eps: added to the deviation of the ranks.
        ddof: 1 divides the sum of squares by G - 1; 0 by G.

    Raises:
        ConfigError: an option out of its range.

    The first two do not dominate each other, and both dominate the third:

    >>> ParetoRank(eps=0)(RewardMatrix.from_groups(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]]))).values_B
    tensor([ 0.5774,  0.5774, -1.1547])
    """

    min_group_size: ClassVar[int] = 2
    scope: ClassVar[Scope] = "group"

    eps: float = field(default=DEFAULT_EPS, validator=check_eps)
    ddof: int = field(default=1, validator=check_ddof)

    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        groups = Groups.of(rewards.group_ids_B)
        weights_K = rewards.weights_K
        valid_BK = rewards.valid_BK & (weights_K != 0)
        rank_B = ranks(rewards.values_BK.double() * weights_K.sign(), valid_BK, groups)
        single = RewardMatrix(
            -rank_B.double()[:, None], rewards.group_ids_B, ("rank",), valid_BK=valid_BK.any(1, keepdim=True)
        )
        values_B = GRPO(eps=self.eps, ddof=self.ddof)(single).values_B
        live_BK = valid_BK & (groups.rows(group_deviations(rewards, groups).number_PK) > 0)
        live_BK = torch.where(live_BK.any(1, keepdim=True), live_BK, valid_BK)
        share_BK = live_BK * (weights_K.abs() / weights_K.abs().max().clamp(min=torch.finfo(torch.float64).tiny))
        share_BK = share_BK / torch.where(live_BK.any(1, keepdim=True), share_BK.sum(1, keepdim=True), 1.0)
        dtype = rewards.values_BK.dtype
        return Advantages(finite(values_B, dtype), finite(values_B[:, None] * share_BK, dtype))


def ranks(values_BK: Tensor, valid_BK: Tensor, groups: Groups) -> Tensor:
    """Non-dominated rank (B,) of each completion in its group, from 1."""
    place_B = torch.empty_like(groups.index_B)
    first_P = groups.sizes_P.cumsum(0) - groups.sizes_P
    rows_B = torch.arange(len(values_BK), device=values_BK.device)
    place_B[groups.order_B] = rows_B - groups.rows(first_P)[groups.order_B]
    shape = (len(groups.sizes_P), int(groups.sizes_P.max()) if len(groups.sizes_P) else 0)

    def padded(column_B: Tensor) -> Tensor:
        table_PG = column_B.new_zeros(shape)
        table_PG[groups.index_B, place_B] = column_B
        return table_PG

    no_worse_PGG = torch.ones(*shape, shape[1], dtype=torch.bool, device=values_BK.device)
    better_PGG = torch.zeros_like(no_worse_PGG)
    for k in range(values_BK.shape[1]):
        value_PG, valid_PG = padded(values_BK[:, k]), padded(valid_BK[:, k])
        both_PGG = valid_PG[:, :, None] & valid_PG[:, None, :]
        no_worse_PGG &= (value_PG[:, :, None] >= value_PG[:, None, :]) | ~both_PGG
        better_PGG |= (value_PG[:, :, None] > value_PG[:, None, :]) & both_PGG
    rank_PG = _peeled(no_worse_PGG & better_PGG, padded(torch.ones_like(rows_B)).bool())
    return rank_PG[groups.index_B, place_B]


def _peeled(dominates_PGG: Tensor, present_PG: Tensor) -> Tensor:
    """Ranks (P, G), front by front; `dominates_PGG[p, i, j]`: i dominates j."""
    rank_PG = torch.zeros_like(present_PG, dtype=torch.int64)
    left_PG, rank = present_PG.clone(), 0
    while left_PG.any():
        rank += 1
        front_PG = left_PG & ~(dominates_PGG & left_PG[:, :, None]).any(1)
        # A circle, which missing rewards can make, has no front: all that is left is one.
        front_PG = torch.where(front_PG.any(1, keepdim=True), front_PG, left_PG)
        rank_PG[front_PG] = rank
        left_PG = left_PG & ~front_PG
    return rank_PG
