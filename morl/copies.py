"""Copies for plugins: whatever a part writes to what it was given, nobody else sees.

Copied are tensors, containers, and the attrs classes of morl around them.  Objects of other classes are handed
on as they are: an image in a column can be large, and copying what morl does not know is not safe.  So is what cannot
be written to, such as the token ids of a completion, whose number would make copies dear.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
from torch import Tensor

T = TypeVar("T")

_FIXED = frozenset({int, float, bool, str, bytes, complex, type(None)})


def copied(value: T) -> T:
    """A copy that shares nothing that can be written to, apart from objects of unknown classes.

    What occurs twice in `value` occurs twice in the copy, so that completions of one prompt keep sharing it.
    """
    return _copied(value, {})  # type: ignore[no-any-return]


def _copied(value: Any, seen: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _FIXED:
        return value
    key = id(value)
    if key in seen:
        return seen[key]
    if kind is tuple and _FIXED.issuperset(map(type, value)):
        return value
    made = seen[key] = _made(value, kind, seen)
    return made


def _made(value: Any, kind: type, seen: dict[int, Any]) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if kind is list:
        return list(value) if _FIXED.issuperset(map(type, value)) else [_copied(item, seen) for item in value]
    if kind in (dict, OrderedDict):
        if _FIXED.issuperset(map(type, value.values())):
            return kind(value)
        return kind((key, _copied(item, seen)) for key, item in value.items())
    if kind is tuple:
        return tuple(_copied(item, seen) for item in value)
    if kind is set:
        return set(value)
    if (fields := _fields(kind)) is not None:
        made: Any = object.__new__(kind)
        # Past `__init__`: what was checked when it was made need not be checked again.
        for name, fixed_tuple in fields:
            inner = getattr(value, name)
            if not (fixed_tuple and type(inner) is tuple):
                inner = _copied(inner, seen)
            object.__setattr__(made, name, inner)
        return made
    return value


@cache
def _fields(kind: type) -> tuple[tuple[str, bool], ...] | None:
    """Of a class of morl, its fields, and whether each is declared as a tuple of what cannot be written to."""
    if not attrs.has(kind) or not kind.__module__.startswith("morl."):
        return None
    try:
        hints = get_type_hints(kind)
    except NameError:  # a type that is imported for type checkers only
        hints = {}
    return tuple((field.name, _is_fixed(hints.get(field.name))) for field in attrs.fields(kind))


def _is_fixed(hint: Any) -> bool:
    """Whether nothing of this type can be written to."""
    if get_origin(hint) in (tuple, Union, UnionType):
        return all(inner is Ellipsis or _is_fixed(inner) for inner in get_args(hint))
    return isinstance(hint, type) and (hint in _FIXED or issubclass(hint, Enum))
