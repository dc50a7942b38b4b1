"""Values that no setting takes, whatever the parser makes of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from morl.errors import ConfigError

_LARGEST = 2**63
"""Whole numbers of PyTorch are below it."""

_LONGEST_NAME = 255
"""Bytes that the usual file systems take."""

_SHELL = re.compile(r"\$(?!\{env:)(?:\{[^}]*\}?|[A-Za-z_]\w*)")
_PATH = re.compile(r"(?:^|_)(?:path|file|folder|dir|directory|cache)$")


def refuse_values(tree: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
    """Refuses nulls where the declared type has none, and whole numbers that nothing can count.

    Args:
        tree: a config as YAML has it.
        declared: path of an option -> its type.

    Raises:
        ConfigError: names the first such key.
    """
    for path, value in _leaves(tree, declared):
        kinds = [*_kinds(declared[path])]
        takes_anything = not kinds or any(kind in (Any, object, inspect.Parameter.empty) for kind in kinds)
        if value is None and not takes_anything and NoneType not in kinds:
            raise ConfigError(f"{path} must have a value; got null; leave the key out for its default")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        fractions = takes_anything or any(isinstance(kind, type) and issubclass(kind, float) for kind in kinds)
        if value != value:
            raise ConfigError(f"{path} must be a finite number; got NaN")
        if abs(value) >= _LARGEST and (isinstance(value, int) or not fractions):
            raise ConfigError(f"{path} must be a number below 2^63; got {value!r}")


def refuse_shell(value: Any, path: str) -> None:
    """Refuses a path with what a shell would have expanded, which would become a name, and one that no system takes.

    Raises:
        ConfigError: names the key.
    """
    if not isinstance(value, str):
        return
    if (found := _SHELL.search(value)) is not None:
        reference = "" if path == "output" else f", or ${{env:{found[0].strip('${}')}}}, which is looked up here"
        raise ConfigError(f"{path}={value}: {found[0]} is not expanded; write the path itself{reference}")
    if path.partition(".")[0] in ("output", "prompts", "evaluation") and value.startswith("~"):
        raise ConfigError(f"{path}={value}: ~ is not expanded; write the path itself")
    if "\0" in value or any(len(name.encode()) > _LONGEST_NAME for name in value.split("/")):
        too_much = f"no path has a null byte, or a name of more than {_LONGEST_NAME} bytes"
        raise ConfigError(f"{path}={value!r:.80}: {too_much}")


def is_path(name: str) -> bool:
    """Whether the name of an option says that it is a path."""
    return _PATH.search(name) is not None


def refuse_shell_in(options: Mapping[str, Any], path: str) -> None:
    """`refuse_shell` of every option whose name says that it is a path."""
    for key, value in options.items():
        if is_path(key):
            refuse_shell(value, f"{path}.{key}")


def _leaves(tree: Mapping[str, Any], declared: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values of the options that are declared."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if path in declared and not (isinstance(value, Mapping) and any(d.startswith(f"{path}.") for d in declared)):
            yield path, value
        elif isinstance(value, Mapping):
            yield from _leaves(value, declared, f"{path}.")


def _kinds(hint: Any) -> Iterator[Any]:
    """The types of a union, or the one type."""
    if get_origin(hint) in (Union, UnionType):
        for each in get_args(hint):
            yield from _kinds(each)
    elif get_origin(hint) is Literal:
        yield from (type(value) for value in get_args(hint))
    elif hint is not None:
        yield get_origin(hint) or hint
