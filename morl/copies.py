"""Copies for plugins: whatever a part writes to what it was given, nobody else sees.

Copied are tensors, containers, and the attrs classes of morl around them.  Objects of other classes are handed
on as they are: an image in a column can be large, and copying what morl does not know is not safe.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeVar

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
    if id(value) in seen:
        return seen[id(value)]
    if kind is tuple and _FIXED.issuperset(map(type, value)):
        return value
    made = _made(value, kind, seen)
    seen[id(value)] = made
    return made


def _made(value: Any, kind: type, seen: dict[int, Any]) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if kind is list:
        return list(value) if _FIXED.issuperset(map(type, value)) else [_copied(item, seen) for item in value]
    if kind in (dict, OrderedDict):
        return kind((key, _copied(item, seen)) for key, item in value.items())
    if kind is tuple:
        return tuple(_copied(item, seen) for item in value)
    if kind is set:
        return set(value)
    if attrs.has(kind) and kind.__module__.startswith("morl."):
        made = object.__new__(kind)
        # Past `__init__`: what was checked when it was made need not be checked again.
        for field in attrs.fields(kind):
            object.__setattr__(made, field.name, _copied(getattr(value, field.name), seen))
        return made
    return value
