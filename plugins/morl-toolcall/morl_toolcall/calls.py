"""A tool call: how one is read from JSON, and when two values are equal."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any, NoReturn

from attrs import frozen


@frozen(eq=False)
class ToolCall:
    """One call.

    Attributes:
        name: of the tool, in Unicode normal form C.
        parameters: value by parameter name, the names in normal form C.
        exact: the object held `name` and `parameters`, an object, and nothing else.
    """

    name: str
    parameters: Mapping[str, Any]
    exact: bool


def decode_call(text: str, start: int) -> tuple[ToolCall, int] | None:
    """The call whose JSON object begins at `text[start]`, and where that object ends.

    None if no JSON object begins there, or one without a `name` that is a non-empty string.  `parameters` that are
    absent or no object count as no parameters.

    >>> call, end = decode_call('{"name": "add", "parameters": {"a": 1}} and more', 0)
    >>> call.name, dict(call.parameters), end
    ('add', {'a': 1}, 39)
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):  # not JSON, a number of too many digits, or nested beyond all sense
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        return None
    parameters = value.get("parameters")
    exact = isinstance(parameters, dict) and len(value) == 2
    if not isinstance(parameters, dict):
        parameters = {}
    return ToolCall(_composed(value["name"]), _composed_keys(parameters), exact), end


def same_value(left: object, right: object) -> bool:
    """Whether two JSON values are equal: as JSON means it, and not as Python does.

    Numbers compare by value (5 is 5.0), booleans equal booleans only (1 is not true), text equals text only (5 is not
    "5") and compares in Unicode normal form C; the order counts in lists and does not in objects.

    >>> same_value({"n": 5, "on": True}, {"on": True, "n": 5.0}), same_value(1, True), same_value(5, "5")
    (True, False, False)
    """
    pending = [(left, right)]
    while pending:  # not recursive: values come from a model, which may nest them deeper than Python's stack
        a, b = pending.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            a, b = _composed_keys(a), _composed_keys(b)
            if a.keys() != b.keys():
                return False
            pending.extend((a[key], b[key]) for key in a)
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            pending.extend(zip(a, b, strict=True))
        elif not _same_scalar(a, b):
            return False
    return True


def _same_scalar(a: object, b: object) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return _composed(a) == _composed(b)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    return a is None and b is None


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _composed_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_composed(key): value for key, value in values.items()}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
