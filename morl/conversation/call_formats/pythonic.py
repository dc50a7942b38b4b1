"""`<|tool_call_start|>[f(x=1), g(y='a')]<|tool_call_end|>`: LFM 2 and 2.5."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

from attrs import evolve

from morl.conversation.call_formats.written import CallFormat, Unreadable, Written, blocks, json_value_of
from morl.conversation.calls import CallStatus

_OPEN, _CLOSE = "<|tool_call_start|>", "<|tool_call_end|>"
_CONSTANTS = {"true": True, "false": False, "null": None}
"""JSON's, which a template writes within objects."""


class Pythonic(CallFormat):
    """A list of calls as Python writes them, with named arguments that are literals.  Nothing is evaluated."""

    begins: ClassVar[tuple[str, ...]] = (_OPEN,)

    def find(self, text: str) -> Iterator[Written]:
        for block, body, closed in blocks(text, _OPEN, _CLOSE):
            yield from _read(block, body.strip(), closed)


def _read(block: Written, body: str, closed: bool) -> Iterator[Written]:
    """The calls of a block; those after the first take no place of their own in the text."""
    try:
        with warnings.catch_warnings(action="ignore"):  # odd escapes in a text that is not ours
            found = ast.parse(body, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        status = CallStatus.MALFORMED_STRUCTURE if closed else CallStatus.UNCLOSED_BLOCK
        problem = "the calls are not a list of calls with named arguments" if closed else "the call is not finished"
        yield evolve(block, status=status, problem=problem)
        return
    nodes = found.elts if isinstance(found, ast.List) else [found]
    if not nodes:
        yield evolve(block, status=CallStatus.MALFORMED_STRUCTURE, problem="the list of calls is empty")
    for place, node in enumerate(nodes):
        where = block if place == 0 else evolve(block, start=block.end)
        yield _call(evolve(where, raw=ast.get_source_segment(body, node) or body), node)


def _call(call: Written, node: ast.expr) -> Written:
    if not isinstance(node, ast.Call):
        problem = "a call must be a name with named arguments in parentheses"
        return evolve(call, status=CallStatus.MALFORMED_STRUCTURE, problem=problem)
    name = _name(node.func)
    if name is None:
        return evolve(call, status=CallStatus.MISSING_NAME, problem="the call names no tool")
    call = evolve(call, name=name)
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        problem = "all arguments must be given by name"
        return evolve(call, status=CallStatus.MALFORMED_STRUCTURE, problem=problem)
    try:
        arguments = {str(keyword.arg): json_value_of(_literal(keyword.value)) for keyword in node.keywords}
    except Unreadable as error:
        return evolve(call, status=CallStatus.MALFORMED_STRUCTURE, problem=f"an argument is no literal: {error}")
    return evolve(call, arguments=arguments)


def _name(node: ast.expr) -> str | None:
    """`f`, or `a.b.f`."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _literal(node: ast.expr | None) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_literal(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            names = [key.value if isinstance(key, ast.Constant) else None for key in keys]
            if all(isinstance(name, str) for name in names):
                return {name: _literal(value) for name, value in zip(names, values, strict=True)}
    raise Unreadable("only texts, numbers, True, False, None, lists and dicts with texts as keys are")
