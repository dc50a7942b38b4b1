"""Statistics over the batch, the same to the last bit for every order of completions; sums in units of the rewards."""

from __future__ import annotations

import torch
from torch import Tensor

from morl.advantage import Groups, WeightedSums, finite
from morl.types import Advantages


def batch_moments(values_BK: Tensor, valid_BK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and sample standard deviation of each column over its valid entries, in units of `peak_K`.

    Args:
        values_BK: float64; where not valid, anything.
        valid_BK: which entries count.

    Returns:
        mean_K: in [-1, 1]; 0 where nothing is valid.
        std_K: 0 where all valid entries are equal.
        peak_K: the largest absolute valid entry; 1 where that is 0 or nothing is valid.
    """
    batch = Groups.whole(values_BK)
    known_BK = torch.where(valid_BK, values_BK, torch.nan)
    high_K, low_K = batch.max(known_BK.nan_to_num(-torch.inf))[0], batch.min(known_BK.nan_to_num(torch.inf))[0]
    peak_K = torch.maximum(high_K.abs(), low_K.abs())
    peak_K = torch.where((peak_K > 0) & peak_K.isfinite(), peak_K, 1.0)
    units_BK = known_BK.div_(peak_K)
    number_K = batch.number(valid_BK)[0]
    mean_K = batch.sum(units_BK.nan_to_num(0.0))[0] / number_K.clamp(min=1)
    # Halved, so that the terms of the sum lie in [-1, 1].
    squares_BK = units_BK.sub_(mean_K).div_(2).square_().nan_to_num_(0.0)
    std_K = 2 * (batch.sum(squares_BK)[0] / (number_K - 1).clamp(min=1)).sqrt()
    # Whether anything varies is decided by comparing values, never by a small deviation.
    return mean_K, torch.where(high_K > low_K, std_K, 0.0), peak_K


def in_units_of_rewards(sums: WeightedSums, groups: Groups, over_P: Tensor, dtype: torch.dtype) -> Advantages:
    """The sums, divided by one number for each group; what the dtype cannot hold becomes its largest number."""
    # In this order: a total may be 0 where the quotient of the other two is infinite.
    scale_P, over_P = finite(sums.scale_P * sums.largest_weight, torch.float64), over_P * sums.shrink
    groups.split(sums.terms_BK).mul_(groups.along(scale_P)[..., None]).div_(groups.along(over_P)[..., None])
    values_B = sums.totals_B * groups.rows(scale_P) / groups.rows(over_P)
    return Advantages(finite(values_B, dtype), finite(sums.terms_BK, dtype))
