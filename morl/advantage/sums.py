"""The weighted sum of the rewards, less its mean over each group."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from morl.advantage.deviations import Deviations, deviations
from morl.advantage.groups import Groups, snapped, unit_weights
from morl.advantage.weighting import aligned, centred
from morl.types import RewardMatrix


@frozen(eq=False)
class WeightedSums:
    """Centred weighted sums, s - mean_G s = totals * scale * largest_weight / shrink.

    Held in these units because the product may exceed the largest float64; what `terms_BK` adds up to, `totals_B` is.

    Attributes:
        terms_BK: what each reward adds to the total, at most 1 in size.
        totals_B: their sums, exactly 0 where they cancel on paper.
        scale_P: the largest weighted range of a reward in the group; 1 where none varies.
        largest_weight: of all rewards.
        shrink: 1, or 1/2 where a range of the batch exceeds the largest float64.
        counts_B: completions that have at least one reward.
    """

    terms_BK: Tensor
    totals_B: Tensor
    scale_P: Tensor
    largest_weight: float
    shrink: float
    counts_B: Tensor


def weighted_sums(
    rewards: RewardMatrix, groups: Groups, weights: Tensor, parts: Deviations | None = None
) -> WeightedSums:
    """Weighted sums of the rewards less their mean over each group; a missing reward is left out of its own mean.

    Args:
        rewards: of a whole batch.
        groups: over which means are taken; those of the prompts, or the whole batch.
        weights: float64, (K,) or (B, K), as `weights_of` returns them.
        parts: the deviations of these rewards, where they are known; they are used up.
    """
    weights, vary = aligned(weights, groups)
    weights, largest_weight = unit_weights(weights)
    parts = deviations(rewards, groups, weights) if parts is None else parts
    ranges = groups.along(parts.range_PK) * weights
    sizes = ranges.abs().amax(-1)
    scale_P = sizes.amax(1) if groups.each else groups.max(sizes)
    scale_P = torch.where(scale_P > 0, scale_P, 1.0)
    ranges = ranges / groups.along(scale_P)[..., None]
    terms_BK = parts.units_BK
    groups.split(terms_BK).mul_(ranges)
    bounds = (ranges.abs() * groups.along(parts.error_PK)).sum(-1)
    bound_B = bounds.expand(-1, groups.each).reshape(-1) if groups.each else bounds
    totals_B = snapped(terms_BK.sum(1), bound_B)
    if vary:
        totals_B, terms_BK = centred(totals_B, terms_BK, groups, parts.valid_BK, bound_B)
    return WeightedSums(terms_BK, totals_B, scale_P, largest_weight, parts.shrink, parts.counts_B)
