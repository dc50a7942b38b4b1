"""Statistics over the batch, the same to the last bit for every order of completions; sums in units of the rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from morl.advantage import Groups, WeightedSums, finite
from morl.types import Advantages

_ROWS = 8192
"""Completions whose rewards fit into a cache together."""


def batch_moments(values_BK: Tensor, valid_BK: Tensor, low_K: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and sample standard deviation of each column over its valid entries, in units of `peak_K`.

    Args:
        values_BK: where not valid, anything.
        valid_BK: which entries count.
        low_K: where given, the statistics are those of (values - low) / 2; halved, for the difference of two numbers
            may be larger than numbers get.

    Returns:
        mean_K: in [-1, 1]; 0 where nothing is valid.
        std_K: 0 where all valid entries are equal.
        peak_K: the largest absolute valid entry; 1 where that is 0 or nothing is valid.
    """
    bits = Groups.whole(valid_BK).bits
    # Column by column, a block of rows after the other; NaN marks what does not count.
    blocks = []
    for first in range(0, len(values_BK), _ROWS):
        of_B = slice(first, first + _ROWS)
        known_Kb = torch.where(valid_BK[of_B], values_BK[of_B], torch.nan).T.to(
            torch.float64, copy=True, memory_format=torch.contiguous_format
        )
        blocks.append(known_Kb if low_K is None else known_Kb.div_(2).sub_(low_K[:, None] / 2))
    high_K = torch.stack([block.nan_to_num(-torch.inf).amax(1) for block in blocks]).amax(0)
    low_K = torch.stack([block.nan_to_num(torch.inf).amin(1) for block in blocks]).amin(0)
    peak_K = torch.maximum(high_K.abs(), low_K.abs())
    peak_K = torch.where((peak_K > 0) & peak_K.isfinite(), peak_K, 1.0)
    number_K = valid_BK.sum(0).double()
    mean_K = _sum(blocks, bits, lambda block: block.div_(peak_K[:, None]).nan_to_num(0.0)) / number_K.clamp(min=1)
    # Halved, so that the terms of the sum lie in [-1, 1].
    squares_K = _sum(blocks, bits, lambda block: block.sub_(mean_K[:, None]).div_(2).square_().nan_to_num_(0.0))
    std_K = 2 * (squares_K / (number_K - 1).clamp(min=1)).sqrt()
    # Whether anything varies is decided by comparing values, never by a small deviation.
    return mean_K, torch.where(high_K > low_K, std_K, 0.0), peak_K


def _sum(blocks: Sequence[Tensor], bits: int, terms_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Sums (K,) of terms in [-1, 1], the same bits for every order; `Groups.sum` of one group, in blocks."""
    sums = [terms_of(block).mul_(2.0**bits).round_().to(torch.int64).sum(1) for block in blocks]
    return torch.stack(sums).sum(0).double() / 2.0**bits


def in_units_of_rewards(sums: WeightedSums, groups: Groups, over_P: Tensor, dtype: torch.dtype) -> Advantages:
    """The sums, divided by one number for each group; what the dtype cannot hold becomes its largest number."""
    # In this order: a total may be 0 where the quotient of the other two is infinite.
    scale_P, over_P = finite(sums.scale_P * sums.largest_weight, torch.float64), over_P * sums.shrink
    groups.split(sums.terms_BK).mul_(groups.along(scale_P)[..., None]).div_(groups.along(over_P)[..., None])
    values_B = sums.totals_B * groups.rows(scale_P) / groups.rows(over_P)
    return Advantages(finite(values_B, dtype), finite(sums.terms_BK, dtype))
