"""Keyword arguments that nothing takes, answered like the keys of a YAML file: with a near name, or with morl's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from morl.config import foreign
from morl.errors import ConfigError, suggest

Called = TypeVar("Called", bound=Callable[..., Any])


def explain_fields(cls: type, section: str = "") -> None:
    """Has a class of the schema refuse an argument that it does not take as a file would; the class is changed.

    Args:
        cls: of the schema.
        section: that it describes; empty for the config itself.
    """
    made = cls.__init__  # type: ignore[misc]
    known = {*inspect.signature(cls).parameters}

    @functools.wraps(made)
    def init(self: Any, *args: Any, **given: Any) -> None:
        if strangers := _strangers(given, known):
            from morl.config.typos import unknown_key  # which imports the schema

            first = next(iter(strangers))
            path = f"{section}.{first}" if section else first
            raise unknown_key(path, section, known, None if section else strangers)
        made(self, *args, **given)

    cls.__init__ = init  # type: ignore[misc]


def explain_arguments(function: Called) -> Called:
    """Has a function whose first argument is a config refuse a keyword argument that it does not take."""
    known = {*inspect.signature(function).parameters}

    @functools.wraps(function)
    def called(*args: Any, **given: Any) -> Any:
        if strangers := _strangers(given, known):
            raise _no_argument(f"morl.{function.__name__}", strangers, known)
        return function(*args, **given)

    return called  # type: ignore[return-value]


def _strangers(given: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in known}


def _no_argument(what: str, strangers: Mapping[str, Any], known: set[str]) -> ConfigError:
    first = next(iter(strangers))
    hints = [found for key, value in strangers.items() for found in foreign.hints(key, value)]
    near = "" if hints else suggest(first, sorted(known))
    where = "" if near else f"; settings are keys of the config, its first argument, as in {what}({{'seed': 1, ..}})"
    return ConfigError("\n  ".join([f"{what} takes no argument {first!r}{near}{where}", *hints]))
