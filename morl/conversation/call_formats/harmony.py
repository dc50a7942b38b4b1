"""`<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"x": 1}<|call|>`: GPT-OSS.

A reply is a sequence of messages: thinking on the channel `analysis`, calls with a recipient, the answer on `final`.
The prompt ends with `<|start|>assistant`, so that the first message begins in the middle of its header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import evolve, frozen

from morl.conversation.call_formats.written import (
    CallFormat,
    Said,
    Unreadable,
    Written,
    json_value,
    with_arguments,
    with_text,
)
from morl.conversation.calls import CallStatus

_MARK = re.compile(r"<\|(?:start|channel|message|end|call|return)\|>")
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_RECIPIENT = re.compile(r"\bto=(?P<name>[^\s<]*)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(?P<name>\w+)")


@frozen
class _Message:
    """One message of a reply.

    Attributes:
        start: its first character in the text.
        end: one past its last.
        header: channel and recipient; all of it where the body never began.
        body: None where it never began.
    """

    start: int
    end: int
    header: str
    body: str | None

    @property
    def recipient(self) -> str | None:
        found = _RECIPIENT.search(self.header)
        return None if found is None or self.body is None else found["name"]

    @property
    def is_thinking(self) -> bool:
        found = _CHANNEL.search(self.header)
        return found is not None and found["name"] == "analysis"


class Harmony(CallFormat):
    """Messages with channels and recipients.

    The end token of the reply, `<|call|>` or `<|return|>`, is not in the text, so that a last message without end is
    a whole one; whether it was cut shows in its JSON.  Text that is no message is content.
    """

    def find(self, text: str) -> Iterator[Written]:
        return (_call(message) for message in _messages(text) if message.recipient is not None)

    def read(self, text: str) -> Said:
        calls = tuple(with_text(call, text) for call in self.find(text))
        rest = [message for message in _messages(text) if message.recipient is None]
        thought = [message.body for message in rest if message.is_thinking and message.body]
        said = [message.header if message.body is None else message.body for message in rest if not message.is_thinking]
        return Said("\n".join(said), calls, "\n".join(thought) or None)


def _messages(text: str) -> Iterator[_Message]:
    """A message ends with a token of its own, or where the next one begins."""
    start, has_body = 0, False
    for mark in _MARK.finditer(text):
        if mark[0] == "<|message|>":
            has_body = True
        elif mark[0] in _ENDS:
            yield from _message(text, start, mark.end())
            start, has_body = mark.end(), False
        elif mark[0] == "<|start|>" or has_body:
            yield from _message(text, start, mark.start())
            start, has_body = mark.start(), False
    yield from _message(text, start, len(text))


def _message(text: str, start: int, end: int) -> Iterator[_Message]:
    header, begun, body = text[start:end].partition("<|message|>")
    if begun:
        yield _Message(start, end, header, body.removesuffix(next((e for e in _ENDS if body.endswith(e)), "")))
    elif header.strip() and not header.startswith(("<|start|>", "<|channel|>")):
        yield _Message(start, end, header.removesuffix(next((e for e in _ENDS if header.endswith(e)), "")), None)


def _call(message: _Message) -> Written:
    name, body = (message.recipient or "").removeprefix("functions."), message.body or ""
    call = Written(message.start, message.end, name)
    if not name:
        return evolve(call, status=CallStatus.MISSING_NAME, problem="the call names no tool")
    try:
        return with_arguments(call, json_value(body))
    except Unreadable as error:
        if not body.rstrip().endswith("}"):
            return evolve(call, status=CallStatus.UNCLOSED_BLOCK, problem="the call is not finished")
        problem = f"the arguments are not valid JSON: {error}"
        return evolve(call, status=CallStatus.INVALID_JSON, problem=problem)
