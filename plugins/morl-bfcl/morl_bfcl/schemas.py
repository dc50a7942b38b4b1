"""BFCL's documentation of a function as the JSON schema that chat templates take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
"""Types that JSON schema has another name for; `any` is a text, as in BFCL's own conversion."""


def tool_schema(doc: Mapping[str, Any]) -> dict[str, Any]:
    """`{"type": "function", "function": {name, description, parameters}}` of a function.

    >>> doc = {"name": "f", "description": "F.", "parameters": {"type": "dict", "properties": {"x": {"type": "float"}},
    ...     "required": ["x"]}}
    >>> tool_schema(doc)["function"]["parameters"]
    {'type': 'object', 'properties': {'x': {'type': 'number'}}, 'required': ['x']}
    """
    function = {key: doc[key] for key in ("name", "description")}
    return {"type": "function", "function": {**function, "parameters": _schema(doc["parameters"])}}


def _schema(doc: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(doc)
    if isinstance(doc.get("type"), str):
        found["type"] = _TYPES.get(doc["type"], doc["type"])
    if isinstance(doc.get("properties"), Mapping):
        found["properties"] = {name: _schema(inner) for name, inner in doc["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(doc.get(key), Mapping):
            found[key] = _schema(doc[key])
    return found
