"""Checks of options that the parts share; each raises `ConfigError`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from morl.errors import ConfigError, suggest
from morl.types import RewardMatrix


def number(what: str, value: object, *, above: float | None = None, least: float | None = None) -> float:
    """A finite number, above `above` and no less than `least`."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not usable or (above is not None and not value > above) or (least is not None and not value >= least):  # type: ignore[operator]
        bound = f" above {above:g}" if above is not None else f" >= {least:g}" if least is not None else ""
        raise ConfigError(f"{what} must be a finite number{bound}; got {value!r}")
    return float(value)  # type: ignore[arg-type]


def choice(what: str, value: object, choices: Sequence[str]) -> None:
    """One of these words."""
    if value not in choices:
        raise ConfigError(f"{what} must be {' or '.join(choices)}{suggest(str(value), choices)}; got {value!r}")


def flag(what: str, value: object) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{what} must be true or false; got {value!r}")


def rewards_exist(what: str, wanted: Iterable[str], names: Sequence[str]) -> None:
    """Every reward that options name is there."""
    for name in wanted:
        if name not in names:
            raise ConfigError(
                f"{what}: unknown reward {name!r}{suggest(str(name), names)}; rewards: {', '.join(names)}"
            )


def bounds_given(what: str, rewards: RewardMatrix) -> None:
    """Every reward that has weight declares bounds."""
    for name, weight in zip(rewards.names, rewards.weights_K.tolist(), strict=True):
        if weight != 0 and name not in rewards.bounds:
            raise ConfigError(f"{what} needs the bounds of every reward, and {name} has none")
