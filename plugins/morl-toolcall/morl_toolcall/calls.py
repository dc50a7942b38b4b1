"""A tool call, and the forms in which one may be written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from attrs import frozen

from morl.errors import ConfigError, suggest
from morl_toolcall.json_text import decode, decode_any, scan
from morl_toolcall.values import Untyped, composed, composed_keys

CallForm: TypeAlias = Literal["arguments", "json-text", "function-tags"]
"""Forms besides `{"name": .., "parameters": {..}}`, see `ToolCall`."""

Forms: TypeAlias = frozenset[CallForm]

PLAIN: Forms = frozenset()

_FUNCTION = re.compile(r"<function=([^<>\s]+)>\s*")
_MARK = re.compile(r"<(?:parameter|function)=([^<>\s]+)>|</(parameter|function)>")


@frozen(eq=False)
class ToolCall:
    """One call.

    It is written as `{"name": .., "parameters": {..}}`, and if the config says so

    - with `arguments` in place of `parameters`, as Hermes and Qwen do;
    - with parameters that are the `json-text` of an object, as OpenAI does;
    - in `function-tags`: `<function=name><parameter=key>value</parameter></function>`, as Qwen3-Coder does, or with a
      JSON object between the tags of the function, as Llama does.

    Attributes:
        name: of the tool, in Unicode normal form C.
        parameters: value by parameter name, the names in normal form C.
        exact: name and parameters, an object, were there, and nothing else.
    """

    name: str
    parameters: Mapping[str, Any]
    exact: bool


def call_forms(names: Iterable[str]) -> Forms:
    """The forms of these names.

    Raises:
        ConfigError: an unknown name.
    """
    known = get_args(CallForm)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"call_forms has the unknown name {name!r}{suggest(str(name), known)}; choose from {', '.join(known)}"
            )
    return frozenset(names)  # type: ignore[arg-type]


def as_call(value: Any, forms: Forms) -> ToolCall | None:
    """The call that a JSON value is; None for all but an object whose `name` is a non-empty text.

    `parameters` that are absent or no object count as no parameters.
    """
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"]:
        return None
    key = "arguments" if "arguments" in forms and "parameters" not in value else "parameters"
    parameters = value.get(key)
    if "json-text" in forms and isinstance(parameters, str):
        parameters = decode_any(parameters)
    exact = isinstance(parameters, dict) and len(value) == 2
    if not isinstance(parameters, dict):
        parameters = {}
    return ToolCall(composed(value["name"]), composed_keys(parameters), exact)


def decode_call(text: str, start: int, forms: Forms = PLAIN) -> tuple[ToolCall, int] | None:
    """The call whose JSON object begins at `text[start]`, and where that object ends; None if none does.

    >>> call, end = decode_call('{"name": "add", "parameters": {"a": 1}} and more', 0)
    >>> call.name, dict(call.parameters), end
    ('add', {'a': 1}, 39)
    """
    if not text.startswith("{", start):
        return None
    found = scan(text, start)
    call = as_call(decode(text[start : found.resume]), forms) if found.whole else None
    return None if call is None else (call, found.resume)


def tagged_call(text: str, start: int) -> tuple[ToolCall | None, int]:
    """The call that begins with the tag `<function=..>` at `text[start]`, and where it ends or ceases to be one.

    Values are texts that hold none of these tags; a line break right behind the opening and before the closing tag
    does not belong to them.

    >>> text = "<function=add><parameter=a>1</parameter><parameter=b>two</parameter></function> and more"
    >>> call, end = tagged_call(text, 0)
    >>> call.name, [value.text for value in call.parameters.values()], text[end:]
    ('add', ['1', 'two'], ' and more')
    """
    opening = _FUNCTION.match(text, start)
    if opening is None:
        return None, start + 1
    parameters: dict[str, Any] = {}
    position = opening.end()
    if text.startswith("{", position):
        found = scan(text, position)
        if not found.whole:
            return None, found.resume
        parameters, position = decode(text[position : found.resume]), found.resume
    rest, key = position, None
    while mark := _MARK.search(text, position):
        between, position = text[position : mark.start()], mark.end()
        match mark.group(2), mark.group(0)[:11]:
            case "parameter", _ if key is not None:
                parameters[key] = Untyped(between.removeprefix("\n").removesuffix("\n"))
                key = None
            case None, "<parameter=" if key is None and not between.strip():
                key = mark.group(1)
            case "function", _ if key is None and not between.strip():
                return ToolCall(composed(opening.group(1)), composed_keys(parameters), exact=True), position
            case _:
                return None, mark.start()
    return None, rest
