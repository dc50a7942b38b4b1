"""Reads completions strictly, for the format reward and the reference answers.

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

from morl_toolcall.calls import PLAIN, Forms, ToolCall, decode_call, tagged_call

_THINK = re.compile(r"\s*<think>(?:(?!</?think>).)*</think>", re.DOTALL)
_OPEN = re.compile(r"\s*<tool_call>\s*")
_NEXT_LINE = re.compile(r"[ \t\r]*\n\s*")
_CLOSE = re.compile(r"\s*</tool_call>")
_RESPONSE = re.compile(r"\s*<response>(?:(?!</?(?:think|tool_call|response)>).)*</response>", re.DOTALL)


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


def parse(text: str, forms: Forms = PLAIN) -> Fields | None:
    """The fields of `text`, or None if it is not in the form.

    White space between fields and around calls is free, but each call stands on one line of its own; one in function
    tags may take several.  The thinking may mention any tag but its own; the response, none.

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
        read = _block(text, block.end(), forms)
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


def _block(text: str, position: int, forms: Forms) -> tuple[tuple[ToolCall, ...], int] | None:
    """Calls from behind `<tool_call>`, and the position behind `</tool_call>`."""
    calls: list[ToolCall] = []
    while True:
        call, end = _call(text, position, forms)
        if call is None or not call.exact:
            return None
        calls.append(call)
        if close := _CLOSE.match(text, end):
            return tuple(calls), close.end()
        line_end = _NEXT_LINE.match(text, end)
        if line_end is None:
            return None
        position = line_end.end()


def _call(text: str, position: int, forms: Forms) -> tuple[ToolCall | None, int]:
    """The call that begins at `position`, and where it ends."""
    if "function-tags" in forms and text.startswith("<function=", position):
        return tagged_call(text, position)
    call, end = decode_call(text, position, forms) or (None, position)
    return (None if "\n" in text[position:end] else call), end
