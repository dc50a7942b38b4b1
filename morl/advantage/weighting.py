"""Weights of the rewards, which may change with the batch or over the steps of a run."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from attrs import Attribute, frozen
from torch import Tensor

from morl.advantage.groups import Groups, snapped
from morl.copies import copied
from morl.errors import ConfigError, PluginError, asking
from morl.types import RewardMatrix, Weights


@frozen
class ConstantWeighting:
    """The weights of the config, `rewards.<name>.weight`, in every step."""

    scope: ClassVar[str] = "group"

    def __call__(self, rewards: RewardMatrix) -> Tensor:
        """(K,), in the order of the names."""
        return rewards.weights_K


def check_weighting(instance: object, attribute: Attribute[Any], value: object) -> None:
    """`weighting` can be called."""
    if not callable(value):
        raise ConfigError(
            f"weighting of {type(instance).__name__} must be a function of a RewardMatrix, such as"
            f" morl.advantage.ConstantWeighting(); got {value!r}"
        )


def weights_of(weighting: Weights, rewards: RewardMatrix) -> Tensor:
    """What the weighting answers, float64, (K,) or (B, K).

    Raises:
        PluginError: no finite numbers of one of these shapes, or an exception; the message names the weighting.
    """
    if isinstance(weighting, ConstantWeighting):
        return weighting(rewards)
    name = f"weighting {getattr(weighting, '__name__', type(weighting).__name__)}"
    with asking(name):
        weights: object = weighting(copied(rewards))
    B, K = rewards.values_BK.shape
    if not isinstance(weights, Tensor) or weights.shape not in ((K,), (B, K)) or weights.is_complex():
        found = f"shape {tuple(weights.shape)}" if isinstance(weights, Tensor) else type(weights).__name__
        raise PluginError(
            f"{name} returned {found}; expected a tensor ({K},), a weight per reward, or ({B}, {K}), a weight per"
            " reward and completion"
        )
    weights = weights.detach().to(rewards.values_BK.device, torch.float64)
    if weights.numel() and not all(map(math.isfinite, torch.aminmax(weights))):
        column = int((~weights.isfinite()).nonzero()[0][-1])
        raise PluginError(f"{name} returned a weight of reward {rewards.names[column]!r} that is not finite")
    return weights


def vary_within(weights: Tensor, groups: Groups) -> bool:
    """Whether completions of one group have different weights, so that the weighted scores need no longer cancel."""
    return aligned(weights, groups)[1]


def aligned(weights: Tensor, groups: Groups) -> tuple[Tensor, bool]:
    """Weights as they go with `Groups.split`, as small as they can be, and whether they vary within a group.

    Args:
        weights: (K,) or (B, K).
        groups: over which it is asked.

    Returns:
        Weights (K,), or one row for each group as `Groups.along` has it, or `Groups.split` of them where they vary.
    """
    if weights.ndim == 1 or not len(weights):
        return weights, False
    first_PK = weights[groups.order_B[groups.sizes_P.cumsum(0) - groups.sizes_P]]
    one, own = groups.along(first_PK), groups.split(weights)
    return (own, True) if bool((own != one).any()) else (one, False)


def centred(
    totals_B: Tensor, terms_BK: Tensor, groups: Groups, valid_BK: Tensor, bound_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Totals less their mean over each group, and terms that still add up to them.

    The mean is that of the completions that have a reward, and the rewards of a completion bear equal parts of it.

    Args:
        totals_B: sums of the terms.
        terms_BK: 0 where a reward is missing.
        groups: over which the mean is taken.
        valid_BK: the rewards that are there and have weight.
        bound_B: rounding error of the totals; a difference within it is 0.
    """
    counts_B = valid_BK.any(1)
    peak_P = groups.max(totals_B.abs())
    peak_P = torch.where(peak_P > 0, peak_P, 1.0)
    number_P = groups.number(counts_B).clamp(min=1)
    mean_P = peak_P * groups.sum((groups.split(totals_B) / groups.along(peak_P)).view_as(totals_B)) / number_P
    shift_B = torch.where(counts_B, groups.rows(mean_P), 0.0)
    part_B1 = (shift_B / valid_BK.sum(1).clamp(min=1))[:, None]
    bound_B = torch.where(counts_B, bound_B + groups.rows(groups.max(bound_B)), math.inf)
    return snapped(totals_B - shift_B, bound_B), terms_BK - valid_BK * part_B1
