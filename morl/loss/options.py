"""What several losses check of their options."""

from __future__ import annotations

from typing import Any, get_args

from attrs import Attribute

from morl.errors import ConfigError
from morl.types import Aggregation


def one_of(*choices: str) -> Any:
    """A validator: the value is among the choices."""

    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value not in choices:
            raise ConfigError(f"{attribute.name} must be one of {', '.join(choices)}; got {value!r}")

    return check


aggregations = one_of(*get_args(Aggregation))
"""A validator: the name of an aggregation."""


def not_negative(_: object, attribute: Attribute[Any], value: float | None) -> None:
    """A validator: None, or a finite number >= 0."""
    if value is not None and not 0 <= value < float("inf"):
        raise ConfigError(f"{attribute.name} must be a finite number >= 0; got {value}")


def positive(_: object, attribute: Attribute[Any], value: float | None) -> None:
    """A validator: None, or a finite number > 0."""
    if value is not None and not 0 < value < float("inf"):
        raise ConfigError(f"{attribute.name} must be a finite number > 0; got {value}")
