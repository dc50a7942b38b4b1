"""Objects that a caller passed, as a config file says them: `<GRPO eps=1e-06 ..>`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import attrs

_LONGEST = 500


def describe(value: Any) -> str:
    """A name for an object, with its options where its class says what these are; never a memory address.

    >>> from morl.advantage import GRPO
    >>> describe(GRPO(eps=1e-6)), describe(len)
    ('<GRPO eps=1e-06 ddof=1 weighting=<ConstantWeighting> ...>', '<function builtins.len>')
    """
    if inspect.isroutine(value) or inspect.isclass(value):
        kind = "class" if inspect.isclass(value) else "function"
        return f"<{kind} {getattr(value, '__module__', None) or '?'}.{getattr(value, '__qualname__', '?')}>"
    words = [type(value).__name__, *_options(value)]
    text = f"<{' '.join(words)}>"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..>"


def is_description(value: Any) -> bool:
    """Whether a value from a file stands for an object that the file cannot hold."""
    return isinstance(value, str) and value.startswith("<") and value.endswith(">")


def writable(value: Any) -> Any:
    """A value for a file: plain types as they are, whatever else described."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): writable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [writable(inner) for inner in value]
    return describe(value)


def _options(value: Any) -> list[str]:
    if not attrs.has(type(value)):
        return []
    fields = [field for field in attrs.fields(type(value)) if field.init and not field.name.startswith("_")]
    return [f"{field.name}={_shown(getattr(value, field.name))}" for field in fields]


def _shown(option: Any) -> str:
    plain = writable(option)
    return plain if is_description(plain) and not isinstance(option, str) else repr(plain)
