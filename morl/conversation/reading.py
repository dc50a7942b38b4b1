"""From the text of a reply to what it says: thinking, content, calls."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from morl.conversation.call_formats.written import CallFormat, Said, Written
from morl.conversation.calls import CallStatus, ParsedReply, ToolCall
from morl.conversation.schema import function_of, parameters_of, problem_with, typed
from morl.errors import suggest


@frozen
class Thinking:
    """How a model marks the part of a reply that is thinking.

    Attributes:
        opening: the text before it.
        closing: the text after it.
    """

    opening: str
    closing: str

    def is_opened_by(self, context: str) -> bool:
        """Whether what stands before a reply ends with the opening, so that the reply begins with thinking."""
        return context.rstrip().endswith(self.opening)

    def split(self, text: str, opened: bool, call_begins: Sequence[str]) -> tuple[str | None, str]:
        """The thinking, None where there is none, and the rest.

        Thinking that was not closed goes up to the first call, or to the end.
        """
        start = text.lstrip()
        call = min((place for begin in call_begins if (place := text.find(begin)) >= 0), default=len(text))
        if start.startswith(self.opening):
            call -= len(text) - len(start) + len(self.opening)
            text = start.removeprefix(self.opening)
        elif not opened and self.closing not in text[:call]:  # a call may contain the text
            return None, text
        inside, closing, rest = text.partition(self.closing)
        if not closing:
            inside, rest = text[:call], text[call:]
        return inside.strip(), rest.lstrip("\n")

    def is_open(self, text: str, opened: bool, call_begins: Sequence[str]) -> bool:
        """Whether the text ends in the middle of thinking."""
        begun = opened or text.lstrip().startswith(self.opening)
        return begun and self.closing not in text and not any(begin in text for begin in call_begins)


@frozen(eq=False)
class Reader:
    """Reads replies.

    Attributes:
        calls: the call format; None where no calls are looked for.
        thinking: how thinking is marked; None where the template knows none, or the call format has it.
        tools: by name; None where any name will do.
        unseen: texts of special tokens, which are left out of what a reply says.
    """

    calls: CallFormat | None
    thinking: Thinking | None
    tools: Mapping[str, Mapping[str, Any]] | None
    unseen: re.Pattern[str] = re.compile(r"(?!)")

    def read(self, text: str, context: str, turn: int) -> ParsedReply:
        """What a text says; whitespace around its parts is left out, unless it is all content."""
        reasoning, rest = None, text
        if self.thinking is not None:
            reasoning, rest = self.thinking.split(text, self.thinking.is_opened_by(context), self._begins)
        said = Said(rest) if self.calls is None else self.calls.read(rest)
        calls = tuple(self._calls(said.calls, turn))
        message: dict[str, Any] = {"role": "assistant", "content": self.unseen.sub("", said.content)}
        if thought := reasoning or said.reasoning:
            message["reasoning_content"] = self.unseen.sub("", thought)
        written = [call.message for call in calls if call.name and call.arguments is not None]
        return ParsedReply(message | ({"tool_calls": written} if written else {}), calls)

    def unclosed(self, text: str, context: str) -> str:
        """What closes the thinking in the middle of which a reply stopped; empty where it did not."""
        marks = self.thinking
        if marks is None or not marks.is_open(text, marks.is_opened_by(context), self._begins):
            return ""
        return marks.closing

    @property
    def _begins(self) -> tuple[str, ...]:
        return () if self.calls is None else self.calls.begins

    def _calls(self, calls: Sequence[Written], turn: int) -> Iterator[ToolCall]:
        for number, call in enumerate(calls):
            arguments, status, problem = self._checked(call)
            index = f"c{turn % 10_000:04}{number % 10_000:04}"
            yield ToolCall(index, call.name, arguments, status, call.raw, problem)

    def _checked(self, call: Written) -> tuple[Mapping[str, Any] | None, CallStatus, str]:
        arguments = call.arguments
        if call.status is not CallStatus.OK:
            return arguments, call.status, call.problem
        assert arguments is not None
        assert self.calls is not None
        tool = None if self.tools is None else self.tools.get(call.name)
        parameters = {} if tool is None else parameters_of(tool)
        arguments = typed(arguments, parameters) if self.calls.textual else arguments
        if self.tools is None:
            return arguments, CallStatus.OK, ""
        if tool is None:
            names = ", ".join(self.tools) or "none"
            problem = f"there is no tool {call.name!r:.80}{suggest(call.name, self.tools)}; tools: {names}"
            return arguments, CallStatus.UNKNOWN_TOOL, problem
        problem = problem_with(arguments, parameters)
        return arguments, CallStatus.WRONG_ARGUMENTS if problem else CallStatus.OK, problem


def by_name(tools: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Tools by the names under which they are called."""
    return {str(function_of(tool).get("name")): tool for tool in tools}
