"""Calls of functions, as replies write them: read, never evaluated."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from morl.types import Message

LONGEST = 100_000
"""Characters of a reply that are looked at; a longer one is not read."""
_DIGITS = 10_000
"""Bits of the largest whole number that a reply may have computed."""
_BLOCK = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_UNREADABLE = (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError)


@frozen(eq=False)
class Call:
    """One call.

    Attributes:
        name: of the function, with dots where the reply has them.
        arguments: value by name.  As for BFCL, those without a name do not count.
        nested: an argument is a call itself; its value here is text, or a mapping.
    """

    name: str
    arguments: Mapping[Any, Any]
    nested: bool = False


def read_reply(reply: Message) -> tuple[Call, ...] | None:
    """The calls of a message of the assistant: its `tool_calls`, or else what its text says.

    Returns:
        None where it is not written as calls.
    """
    if reply.get("tool_calls"):
        functions = [call["function"] for call in reply["tool_calls"]]
        return tuple(Call(function["name"], function["arguments"]) for function in functions)
    return read_calls(reply["content"] or "")


def read_calls(text: str) -> tuple[Call, ...] | None:
    """The calls in a text: `<tool_call>{"name": .., "arguments": {..}}</tool_call>`, or Python's `[f(x=1), g()]`.

    What stands before `</think>` is left out.  Without `<tool_call>` all of the text must be calls, as BFCL wants it;
    brackets may be missing, and stand between backquotes.

    Returns:
        None where the text is not written as calls; no calls for an empty text, and for blocks without JSON.

    >>> [(call.name, dict(call.arguments)) for call in read_calls("[math.add(a=1, b=-2.5), now()]")]
    [('math.add', {'a': 1, 'b': -2.5}), ('now', {})]
    >>> read_calls("I cannot do that.") is None
    True
    """
    text = text.rpartition("</think>")[2]
    if len(text) > LONGEST:
        return None
    return _json_calls(text) if "<tool_call>" in text else _python_calls(text)


def _json_calls(text: str) -> tuple[Call, ...] | None:
    """A block without JSON is passed over; one with other JSON than a call makes the reply unreadable."""
    found = []
    for block in _BLOCK.findall(text):
        try:
            value = json.loads(block)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return None
        if not isinstance(value.get("arguments"), dict):
            return None
        found.append(Call(value["name"], value["arguments"]))
    return tuple(found)


def _python_calls(text: str) -> tuple[Call, ...] | None:
    text = text.strip("`\n ")
    text = ("" if text.startswith("[") else "[") + text
    text += "" if text.endswith("]") else "]"
    try:
        body = ast.parse(text, mode="eval").body
        if not isinstance(body, ast.List) or not all(isinstance(item, ast.Call) for item in body.elts):
            return None
        return tuple(_call(item) for item in body.elts if isinstance(item, ast.Call))
    except _UNREADABLE:
        return None


def _call(node: ast.Call) -> Call:
    nested = any(isinstance(inner, ast.Call) for keyword in node.keywords for inner in ast.walk(keyword.value))
    return Call(_dotted(node.func), {keyword.arg: _value(keyword.value) for keyword in node.keywords}, nested)


def _dotted(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts += [node.id] if isinstance(node, ast.Name) else []
    return ".".join(reversed(parts))


def _value(node: ast.expr) -> Any:
    """The value of an argument; a name, an item and a call without named arguments are the text that they are.

    Raises:
        TypeError, ValueError, ArithmeticError: BFCL does not read it either, or it is too large.
    """
    match node:
        case ast.Constant(value):
            return "..." if value is Ellipsis else value
        case ast.Name(id):
            return id
        case ast.List(elts):
            return [_value(item) for item in elts]
        case ast.Tuple(elts):
            return tuple(_value(item) for item in elts)
        case ast.Dict(keys, values):
            if None in keys:
                raise ValueError("a mapping within a mapping")
            return {_value(key): _value(value) for key, value in zip(keys, values, strict=True) if key is not None}
        case ast.UnaryOp(operand=ast.Constant()) | ast.BinOp():
            return _computed(node)
        case ast.Call() if node.keywords:
            call = _call(node)
            return {call.name: dict(call.arguments)}
        case ast.Call():
            return ast.unparse(node)
        case ast.Subscript(value, slice):
            return f"{ast.unparse(value)}[{ast.unparse(slice)}]"
    raise ValueError(f"not a value: {type(node).__name__}")


_OPERATIONS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a**b,
}


def _computed(node: ast.expr) -> Any:
    """Arithmetic with numbers that are written there, small enough to be done at once, or two texts side by side."""
    match node:
        case ast.Constant(value) if type(value) in (int, float, str):
            return value
        case ast.UnaryOp(ast.USub() | ast.UAdd() as sign, operand):
            value = _computed(operand)
            return -value if isinstance(sign, ast.USub) else +value
        case ast.BinOp(left_node, op, right_node) if type(op) in _OPERATIONS:
            left, right = _computed(left_node), _computed(right_node)
            texts = [isinstance(each, str) for each in (left, right)]
            if any(texts) and not (all(texts) and isinstance(op, ast.Add)):
                raise TypeError("a text is no number")
            if isinstance(op, ast.Pow) and bits(left) * abs(right) > _DIGITS:
                raise OverflowError("too large")
            return _OPERATIONS[type(op)](left, right)
    raise ValueError(f"not a number: {type(node).__name__}")


def bits(number: float) -> int:
    """Of a whole number; of others, which have a size of their own whatever is done to them, 1."""
    return abs(number).bit_length() if isinstance(number, int) else 1


def written(call: Call) -> str:
    """The call as Python text, as BFCL writes it beside its result."""
    return f"{call.name}({','.join(f'{name}={value!r}' for name, value in call.arguments.items())})"


def positional(text: str) -> tuple[str, Sequence[Any], Mapping[str, Any]]:
    """Name, positional and named arguments of a call of the reference answers, whose values are all literal."""
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.Call)
    named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg is not None}
    return _dotted(node.func), [ast.literal_eval(value) for value in node.args], named
