"""Secrets: `${env:NAME}` in the options of a part stands for an environment variable.

The config keeps the reference, so that what is printed, written into run folders and compared never holds the value;
the value is looked up when the part is made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from morl.errors import ConfigError

_REFERENCE = re.compile(r"\$\{env:([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(
    r"(?:^|[_-])(?:api[_-]?keys?|api[_-]?tokens?|(?:access|auth|hf|bearer|secret)[_-]?(?:token|key)s?|secret|password"
    r"|passwd|authorization)$",
    re.IGNORECASE,
)
"""Keys whose value is one, by the names that clients and services give them."""


def with_secrets(options: Any, where: str) -> Any:
    """A copy of options in which every reference is replaced by the value of its variable.

    Args:
        options: mappings, lists and plain values.
        where: path of the section, for errors.

    Raises:
        ConfigError: a variable that is not set or empty.
    """
    match options:
        case str():
            return _REFERENCE.sub(lambda found: _value(found[1], where), options)
        case Mapping():
            return {key: with_secrets(value, f"{where}.{key}") for key, value in options.items()}
        case list() | tuple():
            return type(options)(with_secrets(value, where) for value in options)
    return options


def without_secrets(text: str, options: Any) -> str:
    """A text, such as an error of a part, with the references in place of the values that they stand for."""
    for name in sorted(set(_names(options)), key=lambda name: -len(os.environ.get(name, ""))):
        if value := os.environ.get(name):
            text = text.replace(value, f"${{env:{name}}}")
    return text


def check_secrets(options: Any, where: str) -> None:
    """No option holds a secret as it is.

    Raises:
        ConfigError: one whose key says that it is one, or a reference without the name of a variable; the value is not
            shown.
    """
    match options:
        case Mapping():
            for key, value in options.items():
                at = f"{where}.{key}"
                if isinstance(value, str) and value and _SECRET.search(str(key)) and not _REFERENCE.search(value):
                    raise ConfigError(
                        f"{at} holds a secret, which would be written into the run folder; put it into an environment"
                        f" variable and write {key}: ${{env:NAME}}"
                    )
                check_secrets(value, at)
        case list() | tuple():
            for value in options:
                check_secrets(value, where)
        case str():
            for name in _REFERENCE.findall(options):
                if not _NAME.fullmatch(name):
                    raise ConfigError(f"{where}: ${{env:NAME}} takes the name of an environment variable; got {name!r}")


def refuse_references(value: Any, where: str) -> None:
    """Settings of morl's own take no references: they would be taken as they are written.

    Raises:
        ConfigError: one that holds a reference.
    """
    for name in _names(value):
        raise ConfigError(f"{where}: ${{env:{name}}} is looked up in the options of parts only; write the value itself")


def _value(name: str, where: str) -> str:
    if not (value := os.environ.get(name)):
        raise ConfigError(f"{where} refers to the environment variable {name}, which is not set")
    return value


def _names(options: Any) -> Iterator[str]:
    match options:
        case str():
            yield from _REFERENCE.findall(options)
        case Mapping():
            for value in options.values():
                yield from _names(value)
        case list() | tuple():
            for value in options:
                yield from _names(value)
