"""Questions to the JSON schemas of actions and observations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]


def variants(schema: Schema, root: Schema | None = None) -> Iterator[Schema]:
    """The schema itself, or the alternatives of a union, references followed.

    >>> union = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Move"}], "$defs": {"Move": {"type": "string"}}}
    >>> [each["type"] for each in variants(union)]
    ['null', 'string']
    """
    root = schema if root is None else root
    if isinstance(reference := schema.get("$ref"), str):
        target: Any = root
        for part in reference.removeprefix("#/").split("/"):
            target = target.get(part, {}) if isinstance(target, Mapping) else {}
        # A schema that refers to itself alone would never end.
        if isinstance(target, Mapping) and target.get("$ref") != reference:
            yield from variants(target, root)
        return
    alternatives = [each for key in ("anyOf", "oneOf") for each in schema.get(key, ())]
    if not alternatives:
        yield schema
    for each in alternatives:
        yield from variants(each, root)


def takes_text(schema: Schema, field: str) -> bool:
    """Whether a field of an object may be a text, for all that its schema says.

    >>> takes_text({"properties": {"move": {"anyOf": [{"type": "null"}, {"type": "string"}]}}}, "move")
    True
    >>> takes_text({"properties": {"move": {"type": "integer"}}}, "move")
    False
    """
    own = schema.get("properties", {}).get(field, {})
    return any(each.get("type", "string") == "string" and "const" not in each for each in variants(own, schema))


def fields(schema: Schema) -> tuple[str, ...]:
    """Names of an object's fields."""
    return tuple(schema.get("properties", {}))


def missing(schema: Schema, given: Sequence[str]) -> list[str]:
    """Required fields that are not given."""
    return [name for name in schema.get("required", ()) if name not in given]


def knows_field(schema: Schema, path: str) -> bool:
    """Whether an object may have a field; of a dotted path the first name is looked at."""
    name = path.partition(".")[0]
    return any(name in fields(each) or each.get("additionalProperties", False) for each in variants(schema))
