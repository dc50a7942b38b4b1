"""Calls of tools in a reply, each with how well it was written."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from morl.types import Message


class CallStatus(StrEnum):
    """How well a call was written.  The list is closed: nothing else occurs.

    Attributes:
        OK: it names a tool that is offered, with arguments that its schema allows.
        INVALID_JSON: what should be JSON is not.
        UNCLOSED_BLOCK: the reply ended before the call did.
        MISSING_NAME: it names no tool.
        MALFORMED_STRUCTURE: JSON or tags, but not those of a call; arguments that are no object.
        UNKNOWN_TOOL: no tool of this name is offered.
        WRONG_ARGUMENTS: an argument that is required is missing, one is not known, or has a wrong type.
    """

    OK = "ok"
    INVALID_JSON = "invalid_json"
    UNCLOSED_BLOCK = "unclosed_block"
    MISSING_NAME = "missing_name"
    MALFORMED_STRUCTURE = "malformed_structure"
    UNKNOWN_TOOL = "unknown_tool"
    WRONG_ARGUMENTS = "wrong_arguments"


@frozen
class ToolCall:
    """One call of a tool, in the order in which they stand in the reply.

    Attributes:
        id: distinct within a conversation; nine letters and digits, which every template accepts.
        name: of the tool; empty where none could be read.
        arguments: by name; None where they could not be read.
        status: how well it was written; only a call that is OK can be made.
        raw: the text of the call, as the policy wrote it.
        problem: what is wrong with it, in words that a policy can be told; empty where it is OK.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] | None
    status: CallStatus
    raw: str
    problem: str = ""

    @property
    def message(self) -> dict[str, Any]:
        """As an entry of `tool_calls` of a chat message; arguments that could not be read are an empty object."""
        arguments = dict(self.arguments or {})
        return {"type": "function", "id": self.id, "function": {"name": self.name, "arguments": arguments}}


@frozen(eq=False)
class ParsedReply:
    """What a reply says.

    Attributes:
        message: of the assistant: `content`, the text around the calls; `reasoning_content` where the reply has a part
            of thinking; `tool_calls`, one for each call that names a tool and has arguments, whether or not such a
            tool exists.
        calls: every call, malformed ones included.
    """

    message: Message
    calls: tuple[ToolCall, ...] = field(default=())
