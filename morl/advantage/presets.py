"""The numbers of peers: which eps, divisor and rule for missing rewards each uses, as read in its released code.

All of them use the sample standard deviation (ddof 1).  What of a peer is a fault and thus not rebuilt is listed in
`docs/how-to/estimators-elsewhere.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import torch
from attrs import evolve, frozen
from torch import Tensor

from morl.advantage.groups import Groups
from morl.advantage.options import DEFAULT_EPS
from morl.errors import ConfigError, RewardError, suggest
from morl.types import RewardMatrix

Preset: TypeAlias = Literal["trl", "verl", "nemo-rl", "ms-swift"]
Missing: TypeAlias = Literal["skip", "present", "zero", "zero-after", "refuse"]
Divisor: TypeAlias = Literal["std", "sqrt-var"]
Scale: TypeAlias = Literal["group", "batch"]


@frozen
class Knobs:
    """Where peers differ.

    Attributes:
        eps: added to what the sum is divided by.
        group_eps: of gdpo, added to the standard deviation of each reward in its group, in the reward's units.
        batch_divisor: of gdpo, `std` divides by std + eps, `sqrt-var` by sqrt(std^2 + eps).
        missing: `skip` leaves a missing reward out; `present` takes it as 0 in the sum where the completion has any
            reward, be its weight 0; `zero` takes it as 0 before anything; `zero-after`, of gdpo, leaves it out of its
            group's statistics and counts the completion in those of the batch; `refuse` raises.
        scale: of grpo, the standard deviation of the sums in the `group` or in the whole `batch`; None where the peer
            leaves it open.
    """

    eps: float = DEFAULT_EPS
    group_eps: float = 0.0
    batch_divisor: Divisor = "std"
    missing: Missing = "skip"
    scale: Scale | None = None


GRPO_PRESETS: Mapping[str, Knobs] = {
    "trl": Knobs(eps=1e-4, missing="present"),
    "verl": Knobs(eps=1e-6, missing="refuse", scale="group"),
    "nemo-rl": Knobs(eps=1e-6, missing="refuse", scale="group"),
    "ms-swift": Knobs(eps=1e-4, missing="zero"),
}
"""TRL 1.16.0, verl 0.9.1, NeMo-RL 7ea279ab, ms-swift 4.6.0."""

GDPO_PRESETS: Mapping[str, Knobs] = {
    "trl": Knobs(eps=1e-4, group_eps=1e-4, missing="present"),
    "verl": Knobs(eps=1e-8, group_eps=1e-6, batch_divisor="sqrt-var", missing="refuse"),
    "nemo-rl": Knobs(eps=0.0, group_eps=1e-6, missing="refuse"),
    "ms-swift": Knobs(eps=1e-8, group_eps=1e-8, missing="zero-after"),
}
"""Of the same versions."""

_VALUES: Mapping[str, tuple[str, ...]] = {
    "batch_divisor": ("std", "sqrt-var"),
    "missing": ("skip", "present", "zero", "zero-after", "refuse"),
    "scale": ("group", "batch"),
}


def settled(instance: object, presets: Mapping[str, Knobs], **given: Any) -> Knobs:
    """The knobs of an estimator: those of its preset, or those given, None standing for the default.

    Args:
        instance: the estimator; its fields `preset` and `ddof` are looked at, too.
        presets: those that it has.
        given: knob by name, as the user gave it.

    Raises:
        ConfigError: an unknown preset, a knob that the preset fixes, or a value that a knob cannot have.
    """
    name = type(instance).__name__
    chosen = {knob: value for knob, value in given.items() if value is not None}
    for knob, value in chosen.items():
        if knob in ("eps", "group_eps"):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigError(f"{knob} of {name} must be a finite number >= 0; got {value!r}")
        elif value not in _VALUES[knob]:
            raise ConfigError(f"{knob} of {name} must be one of {', '.join(_VALUES[knob])}; got {value!r}")
    preset = getattr(instance, "preset", None)
    if preset is None:
        return Knobs(**chosen)
    if not isinstance(preset, str) or preset not in presets:
        raise ConfigError(
            f"unknown preset {preset!r} of {name}{suggest(str(preset), presets)}; there are: {', '.join(presets)}"
        )
    fixed = presets[preset]
    for knob, value in chosen.items():
        if getattr(fixed, knob) is not None:
            raise ConfigError(
                f"preset {preset!r} of {name} fixes {knob} at {getattr(fixed, knob)}; leave out {knob}={value!r}, or"
                " the preset"
            )
    if getattr(instance, "ddof", 1) != 1:
        raise ConfigError(f"preset {preset!r} of {name} fixes ddof at 1; leave out ddof=0, or the preset")
    return evolve(fixed, **chosen)


def filled(rewards: RewardMatrix, missing: Missing) -> RewardMatrix:
    """The rewards as the rule has them before anything is computed.

    Raises:
        RewardError: a missing reward, where the rule is `refuse`.
    """
    if missing in ("skip", "zero-after") or bool(rewards.valid_BK.all()):
        return rewards
    if missing == "refuse":
        row, column = (~rewards.valid_BK).nonzero()[0].tolist()
        raise RewardError(
            f"reward {rewards.names[column]!r} of completion {row} is missing, and the trainer of this preset has no"
            " rule for that; use the estimator without a preset, or set `missing`"
        )
    fill_BK = ~rewards.valid_BK
    if missing == "present":
        fill_BK = fill_BK & rewards.valid_BK.any(1, keepdim=True)
    return evolve(rewards, values_BK=rewards.values_BK.masked_fill(fill_BK, 0.0), valid_BK=rewards.valid_BK | fill_BK)


def counted(rewards: RewardMatrix, missing: Missing, weighted_B: Tensor) -> Tensor:
    """The completions in gdpo's standard deviation of the batch; `weighted_B` have a reward with weight."""
    if missing == "zero-after":
        return torch.ones_like(weighted_B)
    return rewards.valid_BK.any(1) if missing == "present" else weighted_B


def batch_std(rewards: RewardMatrix, weights: Tensor, ddof: int) -> tuple[Tensor, float]:
    """Standard deviation (1,) of the weighted sums about their mean over the batch, in units of the second number.

    A missing reward stands at its mean over the group; a completion without any reward with weight is left out.
    """
    groups = Groups.of(rewards.group_ids_B)
    weights_BK = weights.expand(rewards.values_BK.shape)
    valid_BK = rewards.valid_BK & (weights_BK != 0).any(0)
    values_BK = rewards.values_BK.double().masked_fill(~valid_BK, 0.0)
    peak_K = values_BK.abs().amax(0)
    units_BK = values_BK / torch.where(peak_K > 0, peak_K, 1.0)
    mean_PK = groups.sum(units_BK) / groups.number(valid_BK).clamp(min=1)
    units_BK = torch.where(valid_BK, units_BK, groups.rows(mean_PK))
    # Weights and peaks meet in units of the largest, half of it where their product overflows.
    largest = float(weights_BK.abs().max()) or 1.0
    sizes_BK = (weights_BK / largest) * (peak_K / (peak_K.max() if peak_K.max() > 0 else 1.0))
    sums_B = (units_BK * sizes_BK).sum(1) / len(rewards.names)
    present_B = valid_BK.any(1)
    whole = Groups.whole(sums_B)
    number_1 = whole.number(present_B)
    sums_B = torch.where(present_B, sums_B, 0.0)
    centred_B = torch.where(present_B, sums_B - whole.sum(sums_B) / number_1.clamp(min=1), 0.0)
    unit = largest * (float(peak_K.max()) or 1.0) * len(rewards.names)
    return whole.std(centred_B, number_1, ddof), min(unit, torch.finfo(torch.float64).max)
