"""Keys and keyword arguments that nothing takes, answered with a near name, or with morl's own for it."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from morl.config import foreign
from morl.errors import ConfigError, suggest

Called = TypeVar("Called", bound=Callable[..., Any])


def explain_fields(cls: type, section: str = "", sections: Mapping[str, Sequence[str]] | None = None) -> None:
    """Has a class of the schema refuse an argument that it does not take as a file would; the class is changed.

    Args:
        cls: of the schema.
        section: that it describes; empty for the config itself.
        sections: keys of every section, for the config itself.
    """
    made = cls.__init__  # type: ignore[misc]
    known = {*inspect.signature(cls).parameters}

    @functools.wraps(made)
    def init(self: Any, *args: Any, **given: Any) -> None:
        if strangers := _strangers(given, known):
            first = next(iter(strangers))
            path = f"{section}.{first}" if section else first
            raise unknown_key(path, section, known, None if section else strangers, sections)
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


def unknown_key(
    path: str,
    where: str,
    known: set[str],
    strangers: Mapping[str, Any] | None = None,
    sections: Mapping[str, Sequence[str]] | None = None,
) -> ConfigError:
    """The error of a key that its section does not take, with a near one, or else with all that it takes.

    A key of another trainer is answered with what stands for it here, and so are the others beside it.

    Args:
        path: the key.
        where: its section; empty for the config itself.
        known: what that takes.
        strangers: all keys beside this one that are unknown there, with their values.
        sections: keys of every section, among which one that belongs elsewhere is looked for.
    """
    takes = f"{where} takes" if where else "the config has the sections"
    near = suggest(path.rpartition(".")[2], sorted(known))
    hints: list[str] = []
    # Within a section a near name tells more; options of rewards bear all sorts of names.
    if not where or not (near or path.startswith("rewards.")):
        hints = [found for key, value in (strangers or {path: None}).items() for found in foreign.hints(key, value)]
    if not where and not hints:
        near = near or _elsewhere(path, sections or {})
    if hints or near:
        return ConfigError("\n  ".join([f"unknown key {path!r}{'' if hints else near}", *hints]))
    return ConfigError(f"unknown key {path!r}\n  {takes}: {', '.join(sorted(known))}")


def _elsewhere(name: str, sections: Mapping[str, Sequence[str]]) -> str:
    """Keys of this name in the sections, or of one that is very near."""
    everywhere = {key for keys in sections.values() for key in keys}
    near = difflib.get_close_matches(name, sorted(everywhere), n=1, cutoff=0.8)
    found = [f"{section}.{key}" for section, keys in sections.items() for key in keys if key in near]
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""
