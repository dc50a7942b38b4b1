"""What the test runner may have done with an object of the program's."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from typing import Any

BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift"]
COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]
UNARY = ["neg", "pos", "abs", "invert"]


def _call(value: Callable[..., object], arguments: list[object], options: dict[str, object]) -> object:
    return value(*arguments, **options)


def _binary(value: object, name: str, other: object, reflected: bool) -> object:
    if name not in {*BINARY, *COMPARISONS, *(f"i{each.rstrip('_')}" for each in BINARY)}:
        raise ValueError(name)
    return getattr(operator, name)(*((other, value) if reflected else (value, other)))


def _unary(value: object, name: str) -> object:
    if name not in UNARY:
        raise ValueError(name)
    return getattr(operator, name)(value)


def _leave(value: Any, kind: str | None, text: str) -> bool:
    """The end of a `with`; true if the exception in it is not to go on."""
    error = None if kind is None else getattr(builtins, kind)(text)
    # Python looks both up in the class.
    return bool(type(value).__exit__(value, type(error) if error else None, error, None))


OPERATIONS: dict[str, Callable[..., object]] = {
    "value": lambda value: value,
    "contents": lambda value: value,
    "call": _call,
    "get": getattr,
    "set": setattr,
    "iter": iter,
    "next": lambda value: next(value),
    "len": len,
    "bool": bool,
    "hash": hash,
    "item": lambda value, key: value[key],
    "put": operator.setitem,
    "drop": operator.delitem,
    "str": str,
    "repr": repr,
    "binary": _binary,
    "unary": _unary,
    "format": format,
    "reversed": reversed,
    "int": int,
    "round": round,
    "is_a": lambda kind, value: isinstance(value, kind),
    "is_under": lambda kind, value: issubclass(value, kind),
    "enter": lambda value: type(value).__enter__(value),
    "leave": _leave,
}


def builtin_name(kind: type) -> str:
    """Of the exception of Python's own that this is, or is derived from.

    >>> builtin_name(type("Own", (KeyError,), {}))
    'KeyError'
    """
    named = (base.__name__ for base in kind.__mro__ if vars(builtins).get(base.__name__) is base)
    return next(named, "Exception")
