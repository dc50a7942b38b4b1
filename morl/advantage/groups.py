"""Groupwise statistics: float64, masked, for groups of any size whose completions stand in any order.

Two things set these statistics apart from a plain mean and standard deviation.

*The order of the completions cannot matter, not even in the last bit.*  Sums are taken in fixed point: every term is
rounded to a multiple of 2^-52 and added up as a 64-bit integer, which is associative.  Maxima and minima are anyway.
(To sort the terms before a float64 sum passes the same tests, a few lines shorter and two to three times as slow; on
a GPU, where `scatter_add_` adds in no fixed order, the order of the rows would matter.)

*Nothing overflows and nothing is squared that could.*  Deviations are held in units of the range (maximum minus
minimum) of their reward within their group, so they lie in [-1, 1] whatever the scale of the reward.
"""

from __future__ import annotations

import math

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
        index_B: group of each row, 0 to P - 1.
        order_B: the rows, group by group.
        sizes_P: number of rows of each group.
        bits: binary places that sums are rounded to.
    """

    index_B: Tensor
    order_B: Tensor
    sizes_P: Tensor
    bits: int

    @classmethod
    def of(cls, ids_B: Tensor) -> Groups:
        """Rows of equal id make a group."""
        sorted_B, order_B = torch.sort(ids_B, stable=True)
        _, place_B, sizes_P = torch.unique_consecutive(sorted_B, return_inverse=True, return_counts=True)
        index_B = torch.empty_like(place_B).index_copy_(0, order_B, place_B)
        return cls(index_B, order_B, sizes_P, _bits(int(sizes_P.max()) if len(sizes_P) else 0))

    @classmethod
    def whole(cls, like_B: Tensor) -> Groups:
        """All rows are one group."""
        rows_B = torch.arange(len(like_B), device=like_B.device)
        return cls(torch.zeros_like(rows_B), rows_B, rows_B.new_tensor([len(rows_B)]), _bits(len(rows_B)))

    def rows(self, statistic_P: Tensor) -> Tensor:
        """Each row's copy of its group's statistic, (P, ..) to (B, ..)."""
        return statistic_P.index_select(0, self.index_B)

    def max(self, values_B: Tensor) -> Tensor:
        """Largest value of each group, (B, ..) to (P, ..)."""
        return torch.segment_reduce(values_B.index_select(0, self.order_B), "max", lengths=self.sizes_P, unsafe=True)

    def min(self, values_B: Tensor) -> Tensor:
        """Smallest value of each group, (B, ..) to (P, ..)."""
        return torch.segment_reduce(values_B.index_select(0, self.order_B), "min", lengths=self.sizes_P, unsafe=True)

    def number(self, mask_B: Tensor) -> Tensor:
        """Number of true rows of each group, as float64, (B, ..) to (P, ..)."""
        return self._add(mask_B.to(torch.int32)).to(torch.float64)

    def sum(self, values_B: Tensor) -> Tensor:
        """Sum of each group, (B, ..) to (P, ..), of values in [-1, 1]; the same bits for every order of the rows."""
        fixed_B = (values_B * 2.0**self.bits).round_().to(torch.int64)
        return self._add(fixed_B).to(torch.float64) / 2.0**self.bits

    def std(self, values_B: Tensor, number_P: Tensor, ddof: int) -> Tensor:
        """Standard deviation (P,) of values (B,) whose mean over each group is 0, `number_P` of which count."""
        peak_P = self.max(values_B.abs())
        unit_B = values_B / self.rows(torch.where(peak_P > 0, peak_P, 1.0))
        return peak_P * (self.sum(unit_B.square()) / (number_P - ddof).clamp(min=1)).sqrt()

    def _add(self, integers_B: Tensor) -> Tensor:
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
        range_PK: range times `shrink`; 0 where the reward does not vary.
        shrink: 1, or 1/2 where a range of the batch exceeds the largest float64.
        error_PK: bound on the rounding error of `units_BK`; see `deviations`.
        valid_BK: rewards that are there and have weight.
    """

    units_BK: Tensor
    number_PK: Tensor
    range_PK: Tensor
    shrink: float
    error_PK: Tensor
    valid_BK: Tensor

    @property
    def counts_B(self) -> Tensor:
        """Completions that have at least one reward."""
        return self.valid_BK.any(1)

    def std(self, groups: Groups, ddof: int) -> Tensor:
        """Standard deviation (P, K) of `units_BK` over the valid entries; 1 where the reward does not vary."""
        squares_PK = groups.sum(self.units_BK.square())
        return torch.where(self.number_PK > 0, (squares_PK / (self.number_PK - ddof).clamp(min=1)).sqrt(), 1.0)


def deviations(rewards: RewardMatrix, groups: Groups, weights: Tensor | None = None) -> Deviations:
    """Deviations of every reward from its mean, within every group.

    A reward whose weights, (K,) or (B, K), are 0 for every completion is treated as if it were not there; by default
    the weights are those of the matrix.

    The error bound, in units of the range, is the sum of two parts.  Arithmetic: fewer than a dozen roundings of
    numbers up to 1, and those of a sum over K terms, give (12 + K) eps(float64), to which comes the resolution of the
    fixed-point sums.  Representation: a stored value is known to half an ulp of its dtype, a deviation thus to twice
    that; this part is left out where a single reward varies, because nothing can cancel against it, and is never
    taken coarser than float32, because differences that are meant are as small as the ulps of half precision.
    """
    weights = rewards.weights_K if weights is None else weights
    valid_BK = rewards.valid_BK & (weights.reshape(-1, len(rewards.names)) != 0).any(0)
    # In place from here on, in this copy: at this size a fresh tensor costs as much as the arithmetic.
    units_BK = rewards.values_BK.to(torch.float64, copy=True)
    high_PK = groups.max(units_BK.masked_fill_(~valid_BK, -math.inf))
    low_PK = groups.min(units_BK.masked_fill_(~valid_BK, math.inf))
    shrink = 0.5 if ((high_PK - low_PK) == math.inf).any() else 1.0
    high_PK, low_PK = high_PK * shrink, low_PK * shrink
    varies_PK = varies(low_PK, high_PK, rewards.bounds_K2 * shrink)
    high_PK, low_PK = torch.where(varies_PK, high_PK, 1.0), torch.where(varies_PK, low_PK, 0.0)
    range_PK = high_PK - low_PK

    dead_BK = ~(valid_BK & groups.rows(varies_PK))
    units_BK.mul_(shrink).sub_(groups.rows(low_PK)).div_(groups.rows(range_PK)).masked_fill_(dead_BK, 0.0)
    number_PK = groups.number(~dead_BK)
    mean_PK = groups.sum(units_BK) / number_PK.clamp(min=1)
    units_BK.sub_(groups.rows(mean_PK)).masked_fill_(dead_BK, 0.0)

    stored = min(torch.finfo(rewards.values_BK.dtype).eps, torch.finfo(torch.float32).eps)
    representation_PK = stored * torch.maximum(high_PK.abs(), low_PK.abs()) / range_PK
    can_cancel_P1 = varies_PK.sum(1, keepdim=True) > 1
    arithmetic = (12 + len(rewards.names)) * EPS + 2.0**-groups.bits
    return Deviations(
        units_BK=units_BK,
        number_PK=number_PK,
        range_PK=torch.where(varies_PK, range_PK, 0.0),
        shrink=shrink,
        error_PK=torch.where(varies_PK, arithmetic + torch.where(can_cancel_P1, representation_PK, 0.0), 0.0),
        valid_BK=valid_BK,
    )


def unit_weights(weights: Tensor) -> tuple[Tensor, float]:
    """Weights divided by the largest absolute one, and that one (1 if all are 0), so that no product overflows."""
    largest = float(weights.abs().max()) if weights.numel() else 0.0
    largest = largest if largest > 0 else 1.0
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
    return values.to(dtype).clamp(-largest, largest)


def _bits(terms: int) -> int:
    """Binary places at which this many numbers in [-1, 1] add up within 63 bits; float64 itself has 52."""
    return min(52, 62 - (terms - 1).bit_length() if terms else 52)
