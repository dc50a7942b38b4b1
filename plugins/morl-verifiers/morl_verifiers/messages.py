"""Messages between verifiers, whose tool calls hold arguments as text, and morl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from morl.errors import DataError
from morl.types import Message


def from_verifiers(message: Any) -> dict[str, Any]:
    """A message of a task's prompt as chat templates take it.

    Raises:
        DataError: a picture, a call whose arguments are no JSON object.
    """
    content = message.content
    if isinstance(content, list):
        kinds = {part.type for part in content}
        if kinds != {"text"}:
            raise DataError(f"a message with {', '.join(sorted(kinds - {'text'}))}: morl's policies read text")
        content = "\n".join(part.text for part in content)
    given: dict[str, Any] = {"role": message.role, "content": content or ""}
    for name in ("reasoning_content", "tool_call_id", "name"):
        if getattr(message, name, None) is not None:
            given[name] = getattr(message, name)
    if getattr(message, "tool_calls", None):
        given["tool_calls"] = [
            {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": _arguments(call)}}
            for call in message.tool_calls
        ]
    return given


def to_verifiers(message: Message) -> Any:
    """A message of a conversation as rewards of verifiers read it."""
    import verifiers.v1 as vf

    role, content = message["role"], message.get("content")
    if role == "assistant":
        calls = [
            vf.ToolCall(
                id=str(call.get("id") or f"call{number}"),
                name=call["function"]["name"],
                arguments=json.dumps(call["function"]["arguments"], ensure_ascii=False),
            )
            for number, call in enumerate(message.get("tool_calls") or ())
        ]
        return vf.AssistantMessage(
            content=content, reasoning_content=message.get("reasoning_content"), tool_calls=calls or None
        )
    if role == "tool":
        return vf.ToolMessage(
            tool_call_id=str(message.get("tool_call_id") or ""), content=content, name=message.get("name")
        )
    return {"system": vf.SystemMessage, "user": vf.UserMessage}[role](content=content)


def nodes(messages: Sequence[Message], sampled: Sequence[bool]) -> list[Any]:
    """The conversation as the one branch of a trace."""
    import verifiers.v1 as vf

    return [
        vf.MessageNode(parent=number - 1 if number else None, message=to_verifiers(message), sampled=drawn)
        for number, (message, drawn) in enumerate(zip(messages, sampled, strict=True))
    ]


def _arguments(call: Any) -> Any:
    try:
        return json.loads(call.arguments)
    except ValueError as error:
        raise DataError(f"a call of {call.name!r} whose arguments are no JSON: {call.arguments!r}") from error
