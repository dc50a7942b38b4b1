"""Checks of the options that estimators share."""

from __future__ import annotations

import math
from typing import Any

from attrs import Attribute

from morl.errors import ConfigError

DEFAULT_EPS = 1e-6


def check_eps(instance: object, attribute: Attribute[Any], value: object) -> None:
    """`eps` is a finite number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"eps of {type(instance).__name__} must be a finite number >= 0; got {value!r}")


def check_ddof(instance: object, attribute: Attribute[Any], value: object) -> None:
    """`ddof` is 1 (sample standard deviation) or 0 (that of the population)."""
    if isinstance(value, bool) or value not in (0, 1):
        raise ConfigError(
            f"ddof of {type(instance).__name__} must be 1 (sample standard deviation, the paper's) or 0 (that of"
            f" the population); got {value!r}"
        )


def check_flag(instance: object, attribute: Attribute[Any], value: object) -> None:
    """A switch is true or false, not a word for it."""
    if not isinstance(value, bool):
        raise ConfigError(f"{attribute.name} of {type(instance).__name__} must be true or false; got {value!r}")
