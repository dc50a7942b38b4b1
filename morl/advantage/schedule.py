"""Weights of the rewards as functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import torch
from attrs import field, frozen
from torch import Tensor

from morl.errors import ConfigError, suggest
from morl.types import RewardMatrix

Course: TypeAlias = Callable[[int], float]
"""Factor on the weight of a reward by the number of finished rollout batches."""


def _number(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{what} must be a finite number; got {value!r}")
    return float(value)


def _count(what: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{what} must be a whole number of steps, at least {least}; got {value!r}")
    return value


def _ramp(what: str, entry: Mapping[str, Any], bend: Callable[[float], float]) -> Course:
    """From `start` to `end` in `steps`, which begin at `begin`."""
    missing = [key for key in ("start", "end", "steps") if key not in entry]
    if missing:
        raise ConfigError(f"{what} needs start, end and steps; {', '.join(missing)} is missing")
    start, end = (_number(f"{key} of {what}", entry[key]) for key in ("start", "end"))
    steps, begin = _count(f"steps of {what}", entry["steps"], 1), _count(f"begin of {what}", entry.get("begin", 0), 0)

    def course(step: int) -> float:
        share = min(max(step - begin, 0), steps) / steps
        return start + (end - start) * bend(share)

    return course


def _piecewise(what: str, entry: Mapping[str, Any]) -> Course:
    """The factor of the last step named that has been reached."""
    points = entry.get("points")
    if not isinstance(points, Mapping) or not points:
        raise ConfigError(f"{what} needs points, factors by the step from which each holds; got {points!r}")
    # A config has texts as keys.
    steps = [_count(f"a step of {what}", int(s) if isinstance(s, str) and s.isdecimal() else s, 0) for s in points]
    factors = [_number(f"the factor at step {step} of {what}", points[step]) for step in points]
    if steps[0] != 0 or steps != sorted(set(steps)):
        raise ConfigError(f"the points of {what} must begin with step 0 and rise; got {steps}")
    return lambda step: factors[max(i for i, begin in enumerate(steps) if begin <= step)]


_SHAPES: dict[str, tuple[Callable[[str, Mapping[str, Any]], Course], tuple[str, ...]]] = {
    "linear": (lambda what, entry: _ramp(what, entry, lambda share: share), ("start", "end", "steps", "begin")),
    "cosine": (
        lambda what, entry: _ramp(what, entry, lambda share: (1 - math.cos(math.pi * share)) / 2),
        ("start", "end", "steps", "begin"),
    ),
    "piecewise": (_piecewise, ("points",)),
}


def _courses(given: object) -> dict[str, Course]:
    """Checked, by reward name."""
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(
            "a schedule of weights needs rewards, such as {length: {shape: linear, start: 0, end: 1, steps: 100}};"
            f" got {given!r}"
        )
    return {name: _course(name, entry) for name, entry in given.items()}


def _course(name: object, entry: object) -> Course:
    what = f"the schedule of reward {name!r}"
    shape = entry.get("shape") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or shape not in _SHAPES:
        near = suggest(shape, _SHAPES) if isinstance(shape, str) else ""
        raise ConfigError(f"{what} must have a shape, one of {', '.join(_SHAPES)}{near}; got {entry!r}")
    make, options = _SHAPES[shape]
    for option in entry:
        if option not in ("shape", *options):
            raise ConfigError(
                f"{what}: {shape} has no option {option!r}{suggest(str(option), options)}; it takes"
                f" {', '.join(options)}"
            )
    return make(what, entry)


def check_names(options: str, wanted: Sequence[str], names: Sequence[str]) -> None:
    """Whether every reward that options name exists.

    Raises:
        ConfigError: one that does not; the message begins with `options`.
    """
    for name in wanted:
        if name not in names:
            raise ConfigError(
                f"{options}: unknown reward {name!r}{suggest(str(name), names)}; rewards: {', '.join(names)}"
            )


@frozen
class ScheduleWeighting:
    """Weights that follow a schedule over the steps, reward by reward.

        w_k(t) = weight of the config * f_k(t),   t = finished rollout batches

        linear:     f = start + (end - start) s,  s = min(max(t - begin, 0), steps) / steps
        cosine:     f = start + (end - start) (1 - cos(pi s)) / 2
        piecewise:  f = the factor of the last step named that has been reached

    A reward that is not named keeps its weight.  A reward whose factor is 0 is left out, as if it were not there.

    Args:
        rewards: by reward name, `{shape: linear or cosine, start: .., end: .., steps: .., begin: 0}` or
            `{shape: piecewise, points: {0: .., 100: ..}}`.

    Raises:
        ConfigError: no rewards, an unknown shape or option, no steps, numbers that are not finite.

    >>> weighting = ScheduleWeighting({"r1": {"shape": "linear", "start": 0, "end": 1, "steps": 4}})
    >>> from attrs import evolve
    >>> rewards = RewardMatrix.from_groups(torch.zeros(1, 2, 2))
    >>> [weighting(evolve(rewards, step=step)).tolist() for step in (0, 1, 4, 9)]
    [[1.0, 0.0], [1.0, 0.25], [1.0, 1.0], [1.0, 1.0]]
    """

    scope: ClassVar[str] = "group"

    rewards: Mapping[str, Any] = field(converter=dict)
    _course_by_name: dict[str, Course] = field(init=False, repr=False, eq=False)

    @_course_by_name.default
    def _checked(self) -> dict[str, Course]:
        return _courses(self.rewards)

    def check_rewards(self, names: Sequence[str]) -> None:
        """Whether the rewards that are named exist; called before training."""
        check_names("the schedule of weights", list(self.rewards), names)

    def __call__(self, rewards: RewardMatrix) -> Tensor:
        """(K,), in the order of the names."""
        self.check_rewards(rewards.names)
        factors = [self._course_by_name[n](rewards.step) if n in self._course_by_name else 1.0 for n in rewards.names]
        return rewards.weights_K * torch.tensor(factors, dtype=torch.float64, device=rewards.values_BK.device)
