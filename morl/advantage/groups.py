"""Groupwise statistics: float64, masked, for groups of any size whose completions stand in any order.

Two things set these statistics apart from a plain mean and standard deviation.

*The order of the completions cannot matter, not even in the last bit.*  Sums are taken in fixed point: every term is
rounded to a multiple of 2^-52 and added up as a 64-bit integer, which is associative.  Maxima and minima are anyway.
(To sort the terms before a float64 sum passes the same tests, a few lines shorter and two to three times as slow; on
a GPU, where `scatter_add_` adds in no fixed order, the order of the rows would matter.)

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

_BLOCK = 2**16
"""Numbers of a block: half a megabyte in float64.  Temporaries of this size are also not given back to the system."""


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

    def arranged(self, values_B: Tensor) -> Tensor:
        """A float64 copy of the shape of `split` that lies in memory member by member: the first of every group, ..

        What is reduced over a group, or broadcast to it, is then long rows, several times as fast.

        >>> Groups.of(torch.tensor([0, 0, 1, 1])).arranged(torch.tensor([1.0, 2.0, 3.0, 5.0])).stride()
        (1, 2)
        """
        split = self.split(values_B)
        if not self.each:
            return split.to(torch.float64, copy=True)
        P, G, *rest = split.shape
        return torch.empty((G, P, *rest), dtype=torch.float64, device=split.device).transpose(0, 1).copy_(split)

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
        return self._add(self.split(mask_B) if self.each else mask_B.to(torch.int32), torch.int32).to(torch.float64)

    def sum(self, values_B: Tensor) -> Tensor:
        """Sum of each group, (B, ..) to (P, ..), of values in [-1, 1]; the same bits for every order of the rows."""
        return self._sum(self.split(values_B) * 2.0**self.bits)

    def sum_split(self, values: Tensor) -> Tensor:
        """`sum` of what `split` or `arranged` returned; the values are used up."""
        return self._sum(values.mul_(2.0**self.bits))

    def _sum(self, scaled: Tensor) -> Tensor:
        fixed = scaled.round_().to(torch.int64)
        return self._add(fixed, torch.int64).to(torch.float64).div_(2.0**self.bits)

    def std(self, values_B: Tensor, number_P: Tensor, ddof: int) -> Tensor:
        """Standard deviation (P,) of values (B,) whose mean over each group is 0, `number_P` of which count."""
        peak_P = self.max(values_B.abs())
        unit_B = (self.split(values_B) / self.along(torch.where(peak_P > 0, peak_P, 1.0))).view_as(values_B)
        return peak_P * (self.sum(unit_B.square_()) / (number_P - ddof).clamp(min=1)).sqrt()

    def max_split(self, values: Tensor) -> Tensor:
        """`max` of what `split` or `arranged` returned; of the former several times as slow."""
        return values.amax(1) if self.each else self._extreme(values, "max", torch.maximum)

    def min_split(self, values: Tensor) -> Tensor:
        """`min` of the same."""
        return values.amin(1) if self.each else self._extreme(values, "min", torch.minimum)

    def _extreme(self, values_B: Tensor, name: str, of_two: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        if not self.each:
            return torch.segment_reduce(values_B.index_select(0, self.order_B), name, lengths=self.sizes_P, unsafe=True)
        # Halves against each other: several times as fast as a reduction over the middle axis.
        values_PG = self.split(values_B)
        while (size := values_PG.shape[1]) > 1:
            half_PG = of_two(values_PG[:, : size // 2], values_PG[:, size // 2 : size // 2 * 2])
            values_PG = torch.cat([half_PG, values_PG[:, -1:]], 1) if size % 2 else half_PG
        return values_PG[:, 0]

    def _add(self, integers: Tensor, dtype: torch.dtype) -> Tensor:
        if self.each:
            return integers.sum(1, dtype=dtype)
        return integers.new_zeros((len(self.sizes_P), *integers.shape[1:])).index_add_(0, self.index_B, integers)


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
