"""`<tool_call>{"name": "f", "arguments": {..}}</tool_call>`: Hermes, Qwen 2.5, Qwen 3."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from morl.conversation.calls import CallStatus, ParsedReply, ToolCall

_BLOCK = re.compile(r"<tool_call>(.*?)(</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)


@frozen
class Hermes:
    """JSON between tags."""

    def parse(self, text: str, tools: Sequence[Mapping[str, Any]], turn: int) -> ParsedReply:
        names = [tool.get("function", tool).get("name") for tool in tools]
        calls = []
        for number, match in enumerate(_BLOCK.finditer(text)):
            body, closed = match[1], bool(match[2])
            name, arguments, status = _read(body, closed)
            if status is CallStatus.OK and names and name not in names:
                status = CallStatus.UNKNOWN_TOOL
            calls.append(
                ToolCall(
                    f"call{turn % 100:02}{number % 1000:03}",
                    name,
                    arguments,
                    status,
                    match[0],
                    "" if status is CallStatus.OK else str(status),
                )
            )
        message: dict[str, Any] = {"role": "assistant", "content": _BLOCK.sub("", text).strip()}
        if written := [call.message for call in calls if call.name and call.arguments is not None]:
            message["tool_calls"] = written
        return ParsedReply(message, tuple(calls))


def _read(body: str, closed: bool) -> tuple[str, dict[str, Any] | None, CallStatus]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return "", None, CallStatus.INVALID_JSON if closed else CallStatus.UNCLOSED_BLOCK
    if not isinstance(found, dict):
        return "", None, CallStatus.MALFORMED_STRUCTURE
    name, arguments = found.get("name"), found.get("arguments")
    if not isinstance(name, str) or not name:
        return "", None, CallStatus.MISSING_NAME
    if not isinstance(arguments, dict):
        return name, None, CallStatus.MALFORMED_STRUCTURE
    return name, arguments, CallStatus.OK
