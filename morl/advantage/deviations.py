"""How rewards deviate from their means within groups, with what rounding may have done to them.

Nothing overflows and nothing is squared that could: deviations are held in units of the range (maximum minus minimum)
of their reward within their group, so they lie in [-1, 1] whatever the scale of the reward.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from attrs import frozen
from torch import Tensor

from morl.advantage.groups import Groups
from morl.types import RewardMatrix

EPS = torch.finfo(torch.float64).eps
RESOLUTION = 2.0**-40
"""Scores that differ by less than this share of their size are equal.

Scores that are equal on paper come out a few units in the last place apart where they are computed along different
ways: 0.1 + 0.2 is not 0.3.  Such a difference must not be scaled up to a standard deviation of 1, as every
normalisation within groups would.  A sum of n terms of one sign is off by n * 2^-53 of its size at most, so 2^-40,
about 1e-12, covers sums of thousands of terms, and is far below any difference that a score in float32 can have, 2^-24.
"""

_LARGE = 2.0**1022
"""Ranges of numbers below it do not overflow."""


def varies(low: Tensor, high: Tensor, bounds_K2: Tensor | None = None) -> Tensor:
    """Whether scores between `low` and `high` differ by more than the resolution of their reward.

    The resolution is `RESOLUTION` times the largest score in size; with bounds, times the larger bound, so that a score
    which is 0 but for rounding is equal to 0.

    Args:
        low: smallest scores, (..., K) or any shape where there are no bounds.
        high: largest scores; an infinite range, as of no score at all, does not vary.
        bounds_K2: floors and ceilings, NaN where none are declared.

    >>> low = torch.tensor([0.3, 0.0, 1.0], dtype=torch.float64)
    >>> varies(low, torch.tensor([0.1 + 0.2, 5e-324, 1 + 1e-9], dtype=torch.float64)).tolist()
    [False, True, True]
    """
    size = torch.maximum(low.abs(), high.abs())
    if bounds_K2 is not None:
        size = torch.maximum(size, bounds_K2.abs().amax(-1).nan_to_num(0.0).to(size.dtype))
    return (high > low) & (high - low > size * RESOLUTION)


@frozen(eq=False)
class Deviations:
    """How each reward deviates from its mean over its group, in units of its range within that group.

    A reward whose largest and smallest valid value in a group are equal does not vary there: its deviations are 0
    and its statistics do not count.  That is decided by comparing the values (`varies`), never by a
    small standard deviation.

    Attributes:
        units_BK: (r - mean) / range, in [-1, 1]; exactly 0 where the reward is missing or does not vary.
        number_PK: valid entries of each reward in each group; 0 where the reward does not vary.
        squares_PK: sums of the squares of `units_BK` over the group.
        range_PK: range times `shrink`; 0 where the reward does not vary.
        shrink: 1, or 1/2 where a range of the batch exceeds the largest float64.
        error_PK: bound on the rounding error of `units_BK`; see `deviations`.
        valid_BK: rewards that are there and have weight.
    """

    units_BK: Tensor
    number_PK: Tensor
    squares_PK: Tensor
    range_PK: Tensor
    shrink: float
    error_PK: Tensor
    valid_BK: Tensor

    @property
    def counts_B(self) -> Tensor:
        """Completions that have at least one reward."""
        return self.valid_BK.any(1)

    def std(self, ddof: int) -> Tensor:
        """Standard deviation (P, K) of `units_BK` over the valid entries; 1 where the reward does not vary."""
        return torch.where(self.number_PK > 0, (self.squares_PK / (self.number_PK - ddof).clamp(min=1)).sqrt(), 1.0)


def deviations(rewards: RewardMatrix, groups: Groups, weights: Tensor | None = None) -> Deviations:
    """Deviations of every reward from its mean, within every group.

    A reward whose weights, (K,), (B, K) or as `aligned` has them, are 0 for every completion is treated as if it were
    not there; by default the weights are those of the matrix.

    The error bound, in units of the range, is the sum of two parts.  Arithmetic: fewer than a dozen roundings of
    numbers up to 1, and those of a sum over K terms, give (12 + K) eps(float64), to which comes the resolution of the
    fixed-point sums.  Representation: a stored value is known to half an ulp of its dtype, a deviation thus to twice
    that; this part is left out where a single reward varies, because nothing can cancel against it, and is never
    taken coarser than float32, because differences that are meant are as small as the ulps of half precision.
    """
    K = len(rewards.names)
    valid_BK = with_weight(rewards, weights)
    units_BK = torch.empty(valid_BK.shape, dtype=torch.float64, device=valid_BK.device)
    number_PK, squares_PK, range_PK, error_PK = units_BK.new_empty(4, len(groups.sizes_P), K)
    shrink = 1.0
    for part, of_B, of_P, block in deviation_blocks(rewards, groups, valid_BK):
        part.split(units_BK[of_B]).copy_(block.units_BK)
        number_PK[of_P], squares_PK[of_P] = block.number_PK, block.squares_PK
        range_PK[of_P], error_PK[of_P] = block.range_PK, block.error_PK
        shrink = block.shrink
    return Deviations(units_BK, number_PK, squares_PK, range_PK, shrink, error_PK, valid_BK)


def with_weight(rewards: RewardMatrix, weights: Tensor | None = None) -> Tensor:
    """Which rewards (B, K) are there and have weight; `weights` as for `deviations`."""
    weights = rewards.weights_K if weights is None else weights
    weighted_K = (weights.reshape(-1, len(rewards.names)) != 0).any(0)
    return rewards.valid_BK if bool(weighted_K.all()) else rewards.valid_BK & weighted_K


def deviation_blocks(
    rewards: RewardMatrix, groups: Groups, valid_BK: Tensor
) -> Iterator[tuple[Groups, slice, slice, Deviations]]:
    """The same, of one block of groups after the other: for what needs to be kept of none of them.

    Args:
        rewards: of a whole batch.
        groups: its groups.
        valid_BK: of `with_weight`.

    Yields:
        Groups, rows and places as `Groups.blocks` has them, and deviations whose units have the shape of
        `Groups.split` and may be written to.
    """
    complete = bool(valid_BK.all())
    shrink = _shrink(rewards.values_BK, valid_BK, groups)
    bounds_K2 = rewards.bounds_K2 * shrink
    for part, of_B, of_P in groups.blocks(len(rewards.names)):
        known_bK = rewards.values_BK[of_B]
        if not complete:
            # NaN marks what is missing until the end; no other way to leave it out is as fast.
            known_bK = torch.where(valid_BK[of_B], known_bK, math.nan)
        units = part.arranged(known_bK)
        if shrink != 1:
            units.mul_(shrink)
        yield part, of_B, of_P, _of_block(units, part, valid_BK[of_B], complete, shrink, bounds_K2, known_bK.dtype)


def _of_block(
    units: Tensor,
    groups: Groups,
    valid_BK: Tensor,
    complete: bool,
    shrink: float,
    bounds_K2: Tensor,
    dtype: torch.dtype,
) -> Deviations:
    """Deviations in place of the rewards in `units`."""
    high_PK = groups.max_split(units if complete else units.nan_to_num(-math.inf))
    low_PK = groups.min_split(units if complete else units.nan_to_num(math.inf))
    varies_PK = varies(low_PK, high_PK, bounds_K2)
    high_PK = torch.where(varies_PK, high_PK, 1.0)
    low_PK = torch.where(low_PK.isfinite(), low_PK, 0.0)
    range_PK = torch.where(varies_PK, high_PK - low_PK, math.inf)  # to divide by it makes what does not vary 0
    number_PK = (groups.sizes_P.double()[:, None] if complete else groups.number(valid_BK)) * varies_PK

    units.sub_(groups.along(low_PK)).div_(groups.along(range_PK))
    sum_PK = groups.sum_split(units.clone() if complete else units.nan_to_num(0.0))
    units.sub_(groups.along(sum_PK.div_(number_PK.clamp(min=1))))
    if not complete:
        units.nan_to_num_(0.0)
    squares_PK = groups.sum_split(units.square())

    stored = min(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    error_PK = torch.maximum(high_PK.abs(), low_PK.abs()).mul_(stored).div_(range_PK)
    error_PK = error_PK.mul_(varies_PK.sum(1, keepdim=True) > 1)  # of one reward nothing can cancel
    error_PK.add_((12 + units.shape[-1]) * EPS + 2.0**-groups.bits).mul_(varies_PK)
    range_PK.masked_fill_(~varies_PK, 0.0)
    return Deviations(units, number_PK, squares_PK, range_PK, shrink, error_PK, valid_BK)


def _shrink(values_BK: Tensor, valid_BK: Tensor, groups: Groups) -> float:
    """1/2 where the range of a reward in a group exceeds the largest float64, and 1 otherwise."""
    if values_BK.dtype != torch.float64 or not values_BK.nan_to_num(0.0).abs().ge(_LARGE).any():
        return 1.0
    high_PK = groups.max(torch.where(valid_BK, values_BK, -math.inf))
    low_PK = groups.min(torch.where(valid_BK, values_BK, math.inf))
    return 0.5 if bool((high_PK - low_PK == math.inf).any()) else 1.0
