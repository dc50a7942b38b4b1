"""Reads completions: strictly, for the format reward and the reference answers, and leniently, for correctness.

The form, with the thinking first and at least one of the other two fields:

    <think> .. </think>
    <tool_call>
    {"name": .., "parameters": {..}}
    {"name": .., "parameters": {..}}
    </tool_call>
    <response> .. </response>
"""

from __future__ import annotations

import re

from attrs import frozen

from morl_toolcall.calls import ToolCall, decode_call

_THINK = re.compile(r"\s*<think>(?:(?!</?think>).)*</think>", re.DOTALL)
_OPEN = re.compile(r"\s*<tool_call>\s*")
_NEXT_LINE = re.compile(r"[ \t\r]*\n\s*")
_CLOSE = re.compile(r"\s*</tool_call>")
_RESPONSE = re.compile(r"\s*<response>(?:(?!</?(?:think|tool_call|response)>).)*</response>", re.DOTALL)
_LANDMARK = re.compile(r"<think>|</think>|<response>|\{")


@frozen(eq=False)
class Fields:
    """The fields of a completion that is in the form above.

    Attributes:
        think: whether it thinks first.
        calls: of the `<tool_call>` block, at least one; None without a block.
        response: whether it responds.
    """

    think: bool
    calls: tuple[ToolCall, ...] | None
    response: bool


def parse(text: str) -> Fields | None:
    """The fields of `text`, or None if it is not in the form.

    White space between fields and around calls is free, but each call stands on one line of its own.  The thinking may
    mention any tag but its own; the response, none.

    >>> parse('<think> I need <tool_call> </think> <response> Hello. </response>')
    Fields(think=True, calls=None, response=True)
    >>> parse('<tool_call> {"name": "now"} </tool_call>') is None  # no parameters
    True
    """
    position = 0
    thinking = _THINK.match(text)
    if thinking:
        position = thinking.end()
    calls = None
    if block := _OPEN.match(text, position):
        read = _block(text, block.end())
        if read is None:
            return None
        calls, position = read
    response = _RESPONSE.match(text, position)
    if response:
        position = response.end()
    if text[position:].strip() or (calls is None and response is None):
        return None
    return Fields(thinking is not None, calls, response is not None)


def replace_thinking(text: str, thinking: str) -> str:
    """`text` with this thinking in place of its own, or in front where it has none.

    >>> replace_thinking("<think> a long thought </think> <response> Hi. </response>", "short")
    '<think> short </think>\\n<response> Hi. </response>'
    """
    own = _THINK.match(text)
    return f"<think> {thinking} </think>\n{text[own.end() if own else 0 :].lstrip()}"


def _block(text: str, position: int) -> tuple[tuple[ToolCall, ...], int] | None:
    """Calls from behind `<tool_call>`, and the position behind `</tool_call>`."""
    calls: list[ToolCall] = []
    while True:
        decoded = decode_call(text, position)
        if decoded is None or not decoded[0].exact or "\n" in text[position : decoded[1]]:
            return None
        calls.append(decoded[0])
        if close := _CLOSE.match(text, decoded[1]):
            return tuple(calls), close.end()
        line_end = _NEXT_LINE.match(text, decoded[1])
        if line_end is None:
            return None
        position = line_end.end()


def find_calls(text: str) -> tuple[ToolCall, ...]:
    """Every call in `text`, tagged, half-tagged or bare; those within the thinking or the response do not count.

    Thinking lasts from `<think>` to the next `</think>`; one that never closes lasts to the end, and a `</think>` that
    nothing opened (as when the prompt ended with `<think>`) makes thinking of all before it.  JSON objects without a
    `name` are looked into, so calls in a list or a wrapper are found.

    >>> [call.name for call in find_calls('<think> {"name": "no"} </think> so: [{"name": "a"}, {"name": "b"}')]
    ['a', 'b']
    """
    calls: list[ToolCall] = []
    position = 0
    while landmark := _LANDMARK.search(text, position):
        position = landmark.end()
        match landmark.group():
            case "{":
                if decoded := decode_call(text, landmark.start()):
                    calls.append(decoded[0])
                    position = decoded[1]
            case "</think>":
                calls.clear()
            case opening:
                closing = opening.replace("<", "</")
                end = text.find(closing, position)
                if end < 0:
                    break
                position = end + len(closing)
    return tuple(calls)
