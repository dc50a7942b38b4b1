"""DeepSeek V3 and R1: calls between tokens of their own.

    <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f
    ```json
    {"x": 1}
    ```<｜tool▁call▁end｜><｜tool▁calls▁end｜>

V3.1 writes `<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"x": 1}<｜tool▁call▁end｜>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from attrs import evolve

from morl.conversation.call_formats.written import CallFormat, Unreadable, Written, blocks, json_value, with_arguments
from morl.conversation.calls import CallStatus

_ALL_BEGIN, _ALL_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_BEGIN, _END, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_FENCED = re.compile(r"\A(?P<name>[^\n]*)\n```(?:json)?\n(?P<json>.*?)\n?```\s*\Z", re.DOTALL)


class DeepSeek(CallFormat):
    """A name and JSON, between tokens; the list of calls is closed by a token of its own."""

    begins: ClassVar[tuple[str, ...]] = (_ALL_BEGIN, _BEGIN)

    def find(self, text: str) -> Iterator[Written]:
        for call, body, closed in blocks(text, _BEGIN, _END):
            yield _read(_with_list(call, text), body, closed)


def _with_list(call: Written, text: str) -> Written:
    """The first call takes the token that opens the list, the last one that which closes it."""
    before, after = text[: call.start].rstrip(), text[call.end :]
    start = len(before) - len(_ALL_BEGIN) if before.endswith(_ALL_BEGIN) else call.start
    rest = after.lstrip()
    end = call.end + len(after) - len(rest) + len(_ALL_END) if rest.startswith(_ALL_END) else call.end
    return evolve(call, start=start, end=end)


def _read(call: Written, body: str, closed: bool) -> Written:
    kind, separator, rest = body.partition(_SEPARATOR)
    fenced = _FENCED.match(rest)
    name, json = (fenced["name"], fenced["json"]) if fenced else (kind, rest)
    if not fenced and kind.strip() == "function" and not rest.lstrip().startswith("{"):
        name, _, json = rest.partition("\n")  # V3's form, not finished
    call = evolve(call, name=name.strip() if separator else "")
    if not closed:
        return evolve(call, status=CallStatus.UNCLOSED_BLOCK, problem="the call is not finished")
    if not separator:
        problem = f"a call must be a name, {_SEPARATOR} and JSON"
        return evolve(call, status=CallStatus.MALFORMED_STRUCTURE, problem=problem)
    if not call.name:
        return evolve(call, status=CallStatus.MISSING_NAME, problem="the call names no tool")
    try:
        return with_arguments(call, json_value(json))
    except Unreadable as error:
        problem = f"the arguments are not valid JSON: {error}"
        return evolve(call, status=CallStatus.INVALID_JSON, problem=problem)
