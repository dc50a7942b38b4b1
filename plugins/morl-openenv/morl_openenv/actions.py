"""How a reply of the policy becomes actions of the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from morl.errors import ConfigError, suggest
from morl_openenv.schemas import Schema, fields, missing, takes_text, variants

METADATA = "metadata"
"""A field that every action has, for remarks of the caller."""


@frozen
class TextActions:
    """The text of a reply fills one field.

    Attributes:
        field: that it fills.
        fixed: the other fields, the same in every action.
    """

    field: str
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, field: str | None, fixed: Mapping[str, Any], schema: Schema) -> TextActions:
        """Checked against the schema of actions; without a field, the only one that it can be.

        Raises:
            ConfigError: a field that is not there or takes no text, required ones that stay empty.
        """
        shapes = [each for each in variants(schema) if set(fixed) <= set(fields(each))]
        if not shapes:
            raise _unknown(next(iter(fixed)), schema, "action")
        if field is None:
            found = {name for each in shapes for name in missing(each, tuple(fixed)) if takes_text(each, name)}
            if len(found) != 1:
                raise ConfigError(
                    "say how a reply becomes an action: `text: FIELD` fills a field with its text, `tool: NAME` has the"
                    f" policy call a tool with the fields, `mcp: true` offers the server's tools; {_listed(schema)}"
                )
            (field,) = found
        _check_field(field, schema, "text")
        if not any(takes_text(each, field) for each in shapes if field in fields(each)):
            raise ConfigError(f"text: the field {field!r} of an action takes no text; `tool: NAME` has typed fields")
        _check_required([missing(each, (field, *fixed)) for each in shapes if field in fields(each)])
        return cls(field, dict(fixed))

    def action(self, text: str) -> dict[str, Any]:
        return {**self.fixed, self.field: text}


@frozen
class ToolActions:
    """The policy calls one tool, whose arguments are the action's fields.

    Attributes:
        tool: as chat templates take it.
        fixed: fields that the policy does not fill.
    """

    tool: Mapping[str, Any]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, fixed: Mapping[str, Any], schema: Schema) -> ToolActions:
        """The tool that the schema of actions describes.

        Raises:
            ConfigError: an unknown field in `fixed`, a schema that is none of an object.
        """
        shapes = list(variants(schema))
        if len(shapes) != 1 or not fields(shapes[0]):
            raise ConfigError(f"tool: expected actions with fields of their own, of one form; {_listed(schema)}")
        (shape,) = shapes
        for each in fixed:
            _check_field(each, schema, "action")
        hidden = {METADATA, *fixed}
        parameters = {
            **{key: value for key, value in schema.items() if key in ("$defs",)},
            "type": "object",
            "properties": {key: value for key, value in shape["properties"].items() if key not in hidden},
            "required": missing(shape, tuple(hidden)),
        }
        described = " ".join(str(schema.get("description") or "Acts in the environment.").split())
        function = {"name": name, "description": described, "parameters": parameters}
        return cls({"type": "function", "function": function}, dict(fixed))

    @property
    def names(self) -> tuple[str, ...]:
        return (self.tool["function"]["name"],)

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        return (self.tool,)

    def action(self, _: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {**arguments, **self.fixed}


@frozen
class McpActions:
    """The policy calls the tools of the server, each call in an action of the type `call_tool`.

    Attributes:
        tools: as chat templates take them.
    """

    tools: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, listed: Sequence[Mapping[str, Any]]) -> McpActions:
        """From the server's list, `{name, description, input_schema}` of each."""
        functions = [
            {"name": each["name"], "description": each.get("description", ""), "parameters": each["input_schema"]}
            for each in listed
        ]
        return cls(tuple({"type": "function", "function": function} for function in functions))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(tool["function"]["name"] for tool in self.tools)

    def action(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": "call_tool", "tool_name": name, "arguments": dict(arguments)}


LIST_TOOLS = {"type": "list_tools"}
"""The action that asks for the server's tools."""


def _check_required(empty: Sequence[Sequence[str]]) -> None:
    if all(empty):
        raise ConfigError(f"action: the required field {min(empty, key=len)[0]!r} stays empty; give it a value there")


def _check_field(name: str, schema: Schema, option: str) -> None:
    if not any(name in fields(each) for each in variants(schema)):
        raise _unknown(name, schema, option)


def _unknown(name: str, schema: Schema, option: str) -> ConfigError:
    known = sorted({field for each in variants(schema) for field in fields(each)})
    return ConfigError(f"{option}: an action has no field {name!r}{suggest(name, known)}; {_listed(schema)}")


def _listed(schema: Schema) -> str:
    known = sorted({field for each in variants(schema) for field in fields(each)} - {METADATA})
    return f"fields of an action: {', '.join(known) or 'none'}"
