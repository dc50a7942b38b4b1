"""Groupwise statistics: float64, masked, for groups of any size whose completions stand in any order.

Three things set these statistics apart from a plain mean and standard deviation.

*The order of the completions cannot matter, not even in the last bit.*  Sums are taken in fixed point: every term is
rounded to a multiple of 2^-52 and added up as a 64-bit integer, which is associative.  Maxima and minima are anyway.
(To sort the terms before a float64 sum passes the same tests, a few lines shorter and two to three times as slow; on
a GPU, where `scatter_add_` adds in no fixed order, the order of the rows would matter.)

*Nothing overflows and nothing is squared that could.*  Deviations are held in units of the range (maximum minus
minimum) of their reward within their group, so they lie in [-1, 1] whatever the scale of the reward.

*Where groups are of equal size and lie side by side*, as they do in a rollout batch, a statistic is a reduction over
the middle axis of a view (P, G, K), and what is done with it is broadcast: no sort, no index, no copy, and one block of
groups after the other, so that a block stays in the cache.  The bits are those of the other way, for maxima and sums of
integers do not depend on how they are taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from attrs import frozen
from torch import Tensor

from morl.types import RewardMatrix

EPS = torch.finfo(torch.float64).eps
RESOLUTION = 2.0**-40
"""Scores that differ by less than this share of their size are equal.

Scores that are equal on paper come out a few units in the last place apart where they are computed along different
ways: 0.1 + 0.2 is not 0.3.  Such a difference must not be scaled up to a standard deviation of 1, as every
normalisation within groups would.  A sum of n terms of one sign is off by n * 2^-53 of its size at most, so 2^-40,
about 1e-12, covers sums of thousands of terms, and is far below any difference that a score in float32 can have, 2^-24.
"""

_BLOCK = 2**16
"""Numbers of a block: half a megabyte in float64.  Temporaries of this size are also not given back to the system."""


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
class Groups:
    """Which rows belong together.

    Attributes:
        index_B: group of each row, 0 to P - 1, in the order of the ids.
        order_B: the rows, group by group.
        sizes_P: number of rows of each group.
        bits: binary places that sums are rounded to.
        each: rows of every group, where all have as many and lie in the order of `order_B`; 0 elsewhere.
    """

    index_B: Tensor
    order_B: Tensor
    sizes_P: Tensor
    bits: int
    each: int = 0

    @classmethod
    def of(cls, ids_B: Tensor) -> Groups:
        """Rows of equal id make a group."""
        if in_order := bool((ids_B[1:] >= ids_B[:-1]).all()):
            _, index_B, sizes_P = torch.unique_consecutive(ids_B, return_inverse=True, return_counts=True)
            order_B = torch.arange(len(ids_B), device=ids_B.device)
        else:
            sorted_B, order_B = torch.sort(ids_B, stable=True)
            _, place_B, sizes_P = torch.unique_consecutive(sorted_B, return_inverse=True, return_counts=True)
            index_B = torch.empty_like(place_B).index_copy_(0, order_B, place_B)
        largest = int(sizes_P.max()) if len(sizes_P) else 0
        equal = in_order and bool((sizes_P == largest).all())
        return cls(index_B, order_B, sizes_P, _bits(largest), largest if equal else 0)

    @classmethod
    def whole(cls, like_B: Tensor) -> Groups:
        """All rows are one group."""
        rows_B = torch.arange(len(like_B), device=like_B.device)
        return cls(torch.zeros_like(rows_B), rows_B, rows_B.new_tensor([len(rows_B)]), _bits(len(rows_B)), len(rows_B))

    def rows(self, statistic_P: Tensor) -> Tensor:
        """Each row's copy of its group's statistic, (P, ..) to (B, ..)."""
        if self.each:
            return statistic_P.repeat_interleave(self.each, 0)
        return statistic_P.index_select(0, self.index_B)

    def split(self, values_B: Tensor) -> Tensor:
        """A view (P, G, ..) of (B, ..) where groups are of equal size and lie side by side; `values_B` elsewhere."""
        return values_B.unflatten(0, (-1, self.each)) if self.each else values_B

    def along(self, statistic_P: Tensor) -> Tensor:
        """A statistic as it goes with `split`: (P, 1, ..), or each row's copy.

        >>> groups, values_B = Groups.of(torch.tensor([0, 0, 1, 1])), torch.tensor([1.0, 2.0, 3.0, 5.0])
        >>> groups.split(values_B).sub_(groups.along(groups.min(values_B))).flatten()
        tensor([0., 1., 0., 2.])
        """
        return statistic_P.unsqueeze(1) if self.each else self.rows(statistic_P)

    def blocks(self, columns: int) -> Iterator[tuple[Groups, slice, slice]]:
        """Groups whose values in so many columns fit into a cache together, with their rows and their places.

        All at once where groups do not lie side by side, and where there is no such cache.
        """
        number, step = len(self.sizes_P), max(1, _BLOCK // max(self.each * columns, 1))
        if not self.each or number <= step or self.index_B.device.type != "cpu":
            yield self, slice(None), slice(None)
            return
        for first in range(0, number, step):
            of_P = slice(first, min(first + step, number))
            of_B = slice(first * self.each, of_P.stop * self.each)
            index_B, order_B = self.index_B[of_B] - first, self.order_B[of_B] - of_B.start
            yield Groups(index_B, order_B, self.sizes_P[of_P], self.bits, self.each), of_B, of_P

    def max(self, values_B: Tensor) -> Tensor:
        """Largest value of each group, (B, ..) to (P, ..)."""
        return self._extreme(values_B, "max", torch.maximum)

    def min(self, values_B: Tensor) -> Tensor:
        """Smallest value of each group, (B, ..) to (P, ..)."""
        return self._extreme(values_B, "min", torch.minimum)

    def number(self, mask_B: Tensor) -> Tensor:
        """Number of true rows of each group, as float64, (B, ..) to (P, ..)."""
        return self._add(mask_B if self.each else mask_B.to(torch.int32), torch.int32).to(torch.float64)

    def sum(self, values_B: Tensor) -> Tensor:
        """Sum of each group, (B, ..) to (P, ..), of values in [-1, 1]; the same bits for every order of the rows."""
        fixed_B = (values_B * 2.0**self.bits).round_().to(torch.int64)
        return self._add(fixed_B, torch.int64).to(torch.float64) / 2.0**self.bits

    def std(self, values_B: Tensor, number_P: Tensor, ddof: int) -> Tensor:
        """Standard deviation (P,) of values (B,) whose mean over each group is 0, `number_P` of which count."""
        peak_P = self.max(values_B.abs())
        unit_B = (self.split(values_B) / self.along(torch.where(peak_P > 0, peak_P, 1.0))).view_as(values_B)
        return peak_P * (self.sum(unit_B.square_()) / (number_P - ddof).clamp(min=1)).sqrt()

    def _extreme(self, values_B: Tensor, name: str, of_two: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        if not self.each:
            return torch.segment_reduce(values_B.index_select(0, self.order_B), name, lengths=self.sizes_P, unsafe=True)
        # Halves against each other: several times as fast as a reduction over the middle axis.
        values_PG = self.split(values_B)
        while (size := values_PG.shape[1]) > 1:
            half_PG = of_two(values_PG[:, : size // 2], values_PG[:, size // 2 : size // 2 * 2])
            values_PG = torch.cat([half_PG, values_PG[:, -1:]], 1) if size % 2 else half_PG
        return values_PG[:, 0]

    def _add(self, integers_B: Tensor, dtype: torch.dtype) -> Tensor:
        if self.each:
            return self.split(integers_B).sum(1, dtype=dtype)
        return integers_B.new_zeros((len(self.sizes_P), *integers_B.shape[1:])).index_add_(0, self.index_B, integers_B)


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
    weights = rewards.weights_K if weights is None else weights
    weighted_K = (weights.reshape(-1, len(rewards.names)) != 0).any(0)
    valid_BK = rewards.valid_BK if bool(weighted_K.all()) else rewards.valid_BK & weighted_K
    complete = bool(valid_BK.all())
    # In place, in this copy: at this size a fresh tensor costs as much as the arithmetic.  NaN marks what is missing
    # until the end; no other way to leave it out is as fast.
    units_BK = torch.empty(valid_BK.shape, dtype=torch.float64, device=valid_BK.device)
    high_PK, low_PK, number_PK = units_BK.new_empty(3, len(groups.sizes_P), len(rewards.names))
    for part, of_B, of_P in groups.blocks(len(rewards.names)):
        known_bK = rewards.values_BK[of_B]
        if not complete:
            known_bK = torch.where(valid_BK[of_B], known_bK, math.nan)
        units_BK[of_B] = known_bK
        high_PK[of_P] = part.max(known_bK if complete else known_bK.nan_to_num(-math.inf))
        low_PK[of_P] = part.min(known_bK if complete else known_bK.nan_to_num(math.inf))
        number_PK[of_P] = part.number(valid_BK[of_B])
    shrink = 0.5 if ((high_PK - low_PK) == math.inf).any() else 1.0
    high_PK, low_PK = high_PK * shrink, low_PK * shrink
    varies_PK = varies(low_PK, high_PK, rewards.bounds_K2 * shrink)
    high_PK, low_PK = torch.where(varies_PK, high_PK, 1.0), torch.where(low_PK.isfinite(), low_PK, 0.0)
    range_PK = torch.where(varies_PK, high_PK - low_PK, math.inf)  # to divide by it makes what does not vary 0

    number_PK = torch.where(varies_PK, number_PK, 0.0)
    squares_PK = torch.empty_like(number_PK)
    for part, of_B, of_P in groups.blocks(len(rewards.names)):
        units_bK = units_BK[of_B]
        if shrink != 1:
            units_bK.mul_(shrink)
        part.split(units_bK).sub_(part.along(low_PK[of_P])).div_(part.along(range_PK[of_P]))
        mean_pK = part.sum(units_bK if complete else units_bK.nan_to_num(0.0)) / number_PK[of_P].clamp(min=1)
        part.split(units_bK).sub_(part.along(mean_pK))
        if not complete:
            units_bK.nan_to_num_(0.0)
        squares_PK[of_P] = part.sum(units_bK.square())

    stored = min(torch.finfo(rewards.values_BK.dtype).eps, torch.finfo(torch.float32).eps)
    representation_PK = stored * torch.maximum(high_PK.abs(), low_PK.abs()) / range_PK
    can_cancel_P1 = varies_PK.sum(1, keepdim=True) > 1
    arithmetic = (12 + len(rewards.names)) * EPS + 2.0**-groups.bits
    return Deviations(
        units_BK=units_BK,
        number_PK=number_PK,
        squares_PK=squares_PK,
        range_PK=range_PK.masked_fill(~varies_PK, 0.0),
        shrink=shrink,
        error_PK=torch.where(varies_PK, arithmetic + torch.where(can_cancel_P1, representation_PK, 0.0), 0.0),
        valid_BK=valid_BK,
    )


def unit_weights(weights: Tensor) -> tuple[Tensor, float]:
    """Weights divided by the largest absolute one, and that one (1 if all are 0), so that no product overflows."""
    low, high = torch.aminmax(weights) if weights.numel() else (0.0, 0.0)
    largest = max(float(high), -float(low)) or 1.0
    return weights / largest, largest


def snapped(totals_B: Tensor, bound_B: Tensor) -> Tensor:
    """Exactly 0 where a total is within the rounding error of its terms: they cancel on paper."""
    return torch.where(totals_B.abs() <= bound_B, 0.0, totals_B)


def divisor(std: Tensor, eps: Tensor | float) -> Tensor:
    """std + eps, and infinity where the std is 0: whatever is divided by it becomes 0."""
    return torch.where(std > 0, std + eps, math.inf)


def finite(values: Tensor, dtype: torch.dtype) -> Tensor:
    """In `dtype`; what it cannot hold becomes its largest number instead of infinity."""
    largest = torch.finfo(dtype).max
    return values.to(dtype, copy=True).clamp_(-largest, largest)


def _bits(terms: int) -> int:
    """Binary places at which this many numbers in [-1, 1] add up within 63 bits; float64 itself has 52."""
    return min(52, 62 - (terms - 1).bit_length() if terms else 52)
