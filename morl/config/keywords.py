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

_TYPO, _LIKE = 0.85, 0.65  # how near, by difflib's ratio, a name has to be


def explain_fields(cls: type, section: str = "", sections: Mapping[str, Sequence[str]] | None = None) -> None:
    """Has a class of the schema refuse an argument that it does not take as a file would; the class is changed.

    Args:
        cls: of the schema.
        section: that it describes; empty for the config itself.
        sections: keys of every section.
    """
    made = cls.__init__  # type: ignore[misc]
    known = {*inspect.signature(cls).parameters}

    @functools.wraps(made)
    def init(self: Any, *args: Any, **given: Any) -> None:
        if strangers := _strangers(given, known):
            paths = {f"{section}.{name}" if section else name: value for name, value in strangers.items()}
            raise unknown_key(next(iter(paths)), section, known, paths, sections)
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
    others: str = "",
) -> ConfigError:
    """The error of a key that its section does not take, with a near one, or else with all that it takes.

    A key of another trainer, or one that is usual, is answered with what stands for it here, and so are the others
    beside it. Next comes a typo, then a key of another section, then an option of another part.

    Args:
        path: the key.
        where: its section; empty for the config itself.
        known: what that takes.
        strangers: all keys beside this one that are unknown there, with their values.
        sections: keys of every section, among which one that belongs elsewhere is looked for.
        others: parts that could stand there in place of the one that does, and take the key.
    """
    takes = f"{where} takes" if where else "the config has the sections"
    head, _, name = path.rpartition(".")
    of_a_reward = head.startswith("rewards")  # whose options bear all sorts of names
    elsewhere = "" if of_a_reward else _elsewhere([name], sections or {})
    given = strangers or {path: None}
    if hints := [found for key, value in given.items() for found in foreign.hints(key, value, usual=not elsewhere)]:
        return ConfigError("\n  ".join([f"unknown key {path!r}", *hints]))
    near = suggest(name, sorted(known), _TYPO) or elsewhere
    if not near and others:
        return ConfigError(f"unknown key {path!r}; it is an option of {others}\n  {takes}: {', '.join(sorted(known))}")
    near = near or suggest(name, sorted(known), _LIKE)
    if not near and not of_a_reward:
        everywhere = {key for keys in (sections or {}).values() for key in keys}
        near = _elsewhere(difflib.get_close_matches(name, sorted(everywhere), n=1, cutoff=0.8), sections or {})
    if near:
        return ConfigError(f"unknown key {path!r}{near}")
    return ConfigError(f"unknown key {path!r}\n  {takes}: {', '.join(sorted(known))}")


def _elsewhere(names: Sequence[str], sections: Mapping[str, Sequence[str]]) -> str:
    """Keys of these names in the sections."""
    found = [f"{section}.{key}".lstrip(".") for section, keys in sections.items() for key in keys if key in names]
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""
