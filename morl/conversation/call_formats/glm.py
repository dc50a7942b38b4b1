"""`<tool_call>f<arg_key>x</arg_key><arg_value>1</arg_value></tool_call>`: GLM 4.5 and later."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from attrs import evolve

from morl.conversation.call_formats.written import CallFormat, Written
from morl.conversation.calls import CallStatus

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_NAME = re.compile(r"\s*([^<\n]*)")
_PAIR = re.compile(
    r"\s*<arg_key>(?P<key>[^<\n]*)</arg_key>\s*"
    r"<arg_value>(?P<value>.*?)</arg_value>(?=\s*(?:<arg_key>|</tool_call>|\Z))",
    re.DOTALL,
)
_END = re.compile(rf"\s*{_CLOSE}")


class Glm(CallFormat):
    """Pairs of keys and values, the latter as they are; only the schema of the tool says what they are."""

    textual: ClassVar[bool] = True
    begins: ClassVar[tuple[str, ...]] = (_OPEN,)

    def find(self, text: str) -> Iterator[Written]:
        start = text.find(_OPEN)
        while start >= 0:
            call = _read(text, start)
            yield call
            start = text.find(_OPEN, call.end)


def _read(text: str, start: int) -> Written:
    name = _NAME.match(text, start + len(_OPEN))
    assert name is not None
    call = Written(start, name.end(), name[1].strip())
    arguments: dict[str, str] = {}
    problem = ""
    while (pair := _PAIR.match(text, call.end)) is not None:
        call, key = evolve(call, end=pair.end()), pair["key"].strip()
        if not key or key in arguments:
            problem = f"the argument {key!r} is given twice" if key else "an argument has no name"
        arguments[key] = pair["value"]
    end = _END.match(text, call.end)
    if end is not None and not problem:
        call = evolve(call, end=end.end(), arguments=arguments)
        if call.name:
            return call
        return evolve(call, arguments=None, status=CallStatus.MISSING_NAME, problem="the call names no tool")
    following = text.find(_OPEN, call.end)
    limit = following if following >= 0 else len(text)
    closing = text.find(_CLOSE, call.end, limit)
    if closing < 0 and following < 0:
        return evolve(call, end=limit, status=CallStatus.UNCLOSED_BLOCK, problem="the call is not finished")
    problem = problem or f"after the arguments {_CLOSE} was expected"
    limit = limit if closing < 0 else closing + len(_CLOSE)
    return evolve(call, end=limit, status=CallStatus.MALFORMED_STRUCTURE, problem=problem)
