"""Arguments of a call held against the JSON schema of its tool."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from morl.conversation.call_formats.written import Unreadable, json_value, kind_of
from morl.errors import suggest

_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
"""Type in a schema -> Python types; other types (BFCL has `any`) allow everything."""

_LONGEST = 200
"""Characters of a schema's list of values in a message."""


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name, description and parameters of a tool, whether or not they stand under `function`."""
    function = tool.get("function")
    return function if isinstance(function, Mapping) else tool


def parameters_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a tool's arguments; an empty one allows everything."""
    parameters = function_of(tool).get("parameters")
    return parameters if isinstance(parameters, Mapping) else {}


def typed(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that were written as text, in the types of the schema.

    Text that the schema wants stays as it is.  Other text becomes the JSON value that it is, Python's `True`, `False`
    and `None` included; what is none stays text, and the check says that it has the wrong type.

    >>> typed({"n": "3", "name": "3"}, {"properties": {"n": {"type": "integer"}, "name": {"type": "string"}}})
    {'n': 3, 'name': '3'}
    """
    properties = _mapping(parameters.get("properties"))
    return {key: _typed(value, _mapping(properties.get(key))) for key, value in arguments.items()}


def _typed(value: Any, schema: Mapping[str, Any]) -> Any:
    if not isinstance(value, str):
        return value
    kinds = _types(schema)
    text = value.strip()
    if "null" in kinds and text in ("null", "None"):
        return None
    if "string" in kinds:
        return value
    try:
        return json_value({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except Unreadable:
        return value


def problem_with(arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """What is wrong with the arguments of a call, in words; empty where the schema allows them.

    Names, types and lists of allowed values are looked at, in objects and arrays as well.  A schema that lists
    `properties` allows no others, as a Python function does, unless it says so (`additionalProperties`).  Whatever
    else a schema says is not held against a call.

    >>> problem_with({"x": "one"}, {"properties": {"x": {"type": "integer"}}, "required": ["x"]})
    "the argument 'x' must be an integer; it is a string"
    """
    return _object_problem(arguments, parameters, "the argument ")


def _object_problem(value: Mapping[str, Any], schema: Mapping[str, Any], what: str) -> str:
    properties = schema.get("properties")
    known = _mapping(properties)
    for name in _names(schema.get("required")):
        if name not in value:
            return f"{what}{name!r} is missing"
    for name, inner in value.items():
        if name in known:
            problem = _problem(inner, _mapping(known[name]), f"{what}{name!r}")
            if problem:
                return problem
        elif isinstance(others := schema.get("additionalProperties"), Mapping):
            problem = _problem(inner, others, f"{what}{name!r}")
            if problem:
                return problem
        elif isinstance(properties, Mapping) and not (others or schema.get("patternProperties")):
            return f"{what}{name!r} is not known{suggest(name, known)}; known: {', '.join(map(str, known)) or 'none'}"
    return ""


def _problem(value: Any, schema: Mapping[str, Any], what: str) -> str:
    options = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, Sequence) and options:
        problems = [_problem(value, _mapping(option), what) for option in options]
        return "" if "" in problems else problems[0]
    kinds = _types(schema)
    if kinds and not any(_is(value, kind) for kind in kinds):
        wanted = " or ".join(kind_of(_EXAMPLES[kind]) for kind in kinds)
        return f"{what} must be {wanted}; it is {kind_of(value)}"
    allowed = schema.get("enum")
    if isinstance(allowed, Sequence) and not isinstance(allowed, str) and value not in allowed:
        shown = json.dumps(list(allowed), ensure_ascii=False, default=str)
        return f"{what} must be one of {shown[:_LONGEST]}"
    if isinstance(value, dict):
        return _object_problem(value, schema, f"{what}, ")
    return _items_problem(value, schema, what) if isinstance(value, list) else ""


def _items_problem(value: list[Any], schema: Mapping[str, Any], what: str) -> str:
    first, rest = schema.get("prefixItems"), _mapping(schema.get("items"))
    fixed = [_mapping(each) for each in first] if isinstance(first, Sequence) else []
    if fixed and len(value) != len(fixed):
        return f"{what} must have {len(fixed)} items; it has {len(value)}"
    found = (
        _problem(item, fixed[place] if fixed else rest, f"{what}, item {place}") for place, item in enumerate(value)
    )
    return next((problem for problem in found if problem), "")


_EXAMPLES: Mapping[str, Any] = {
    "string": "", "integer": 0, "number": 0.0, "boolean": True, "array": [], "object": {}, "null": None,
}  # fmt: skip


def _is(value: Any, kind: str) -> bool:
    """As JSON Schema has it: 3.0 is an integer, true is no number."""
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS[kind])


def _types(schema: Mapping[str, Any]) -> list[str]:
    """The types that a schema allows; none where it does not say, or says what JSON Schema does not know."""
    options = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, Sequence) and not isinstance(options, str):
        inner = [_types(_mapping(option)) for option in options]
        return [] if [] in inner else [kind for kinds in inner for kind in kinds]
    kinds = _names(schema.get("type"))
    if not kinds or any(kind not in _KINDS for kind in kinds):
        return []
    return [*kinds, *(["null"] if schema.get("nullable") is True else [])]


def _names(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, Iterable) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
