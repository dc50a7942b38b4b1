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
    values_BK = values_BK.masked_fill(~valid_BK, 0.0)
    peak_K = values_BK.abs().amax(0) if len(values_BK) else values_BK.new_zeros(values_BK.shape[1])
    peak_K = torch.where(peak_K > 0, peak_K, 1.0)
    units_BK = values_BK / peak_K
    batch = Groups.whole(units_BK[:, 0])
    number_K = valid_BK.sum(0).double()
    mean_K = batch.sum(units_BK)[0] / number_K.clamp(min=1)
    varies_K = _varies(units_BK, valid_BK)
    # Halved, so that the terms of the sum lie in [-1, 1].
    halves_BK = ((units_BK - mean_K) / 2).masked_fill_(~(valid_BK & varies_K), 0.0)
    std_K = 2 * (batch.sum(halves_BK.square())[0] / (number_K - 1).clamp(min=1)).sqrt()
    return mean_K, std_K, peak_K


def _varies(units_BK: Tensor, valid_BK: Tensor) -> Tensor:
    """Whether a column has two different valid entries: by comparing them, never by a small deviation."""
    high_K = units_BK.masked_fill(~valid_BK, -torch.inf).amax(0)
    low_K = units_BK.masked_fill(~valid_BK, torch.inf).amin(0)
    return high_K > low_K


def in_units_of_rewards(sums: WeightedSums, groups: Groups, over_P: Tensor, dtype: torch.dtype) -> Advantages:
    """The sums, divided by one number for each group; what the dtype cannot hold becomes its largest number."""
    scale_B = groups.rows(finite(sums.scale_P * sums.largest_weight, torch.float64))
    over_B = groups.rows(over_P) * sums.shrink
    # In this order: a total may be 0 where the quotient of the other two is infinite.
    values_B, terms_BK = sums.totals_B * scale_B / over_B, sums.terms_BK * scale_B[:, None] / over_B[:, None]
    return Advantages(finite(values_B, dtype), finite(terms_BK, dtype))
