"""`<tool_call><function=f><parameter=x>1</parameter></function></tool_call>`: Qwen 3.5 and later, Nemotron 3."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from attrs import evolve

from morl.conversation.call_formats.written import CallFormat, Written
from morl.conversation.calls import CallStatus

_CALL = re.compile(r"<tool_call>|<function=")
_FUNCTION = re.compile(r"\s*<function=([^<>\n]*)>")
_PARAMETER = re.compile(
    r"\s*<parameter=(?P<key>[^<>\n]*)>(?P<value>.*?)</parameter>(?=\s*(?:<parameter=|</function>|\Z))", re.DOTALL
)
_CLOSED = re.compile(r"\s*</function>")
_TOOL_CALL_CLOSED = re.compile(r"\s*</tool_call>")


class FunctionXml(CallFormat):
    """Tags with the values of arguments as they are; only the schema of the tool says what they are.

    A value ends at the `</parameter>` after which another parameter begins or the call ends, so that it may contain
    the tag itself.  One line break after the opening and before the closing tag belong to the format.
    """

    textual: ClassVar[bool] = True
    begins: ClassVar[tuple[str, ...]] = ("<tool_call>", "<function=")

    def find(self, text: str) -> Iterator[Written]:
        match = _CALL.search(text)
        while match is not None:
            call = _read(text, match.start(), wrapped=match[0] == "<tool_call>")
            yield call
            match = _CALL.search(text, call.end)


def _read(text: str, start: int, *, wrapped: bool) -> Written:
    inside = start + len("<tool_call>") if wrapped else start
    function = _FUNCTION.match(text, inside)
    if function is None:
        return _broken(text, Written(start, inside), "a call must begin with <function=..>")
    call = Written(start, function.end(), name=function[1].strip())
    arguments: dict[str, str] = {}
    while (parameter := _PARAMETER.match(text, call.end)) is not None:
        call = evolve(call, end=parameter.end())
        key = parameter["key"].strip()
        if not key or key in arguments:
            what = f"the parameter {key!r} is given twice" if key else "a parameter has no name"
            return _broken(text, call, what)
        arguments[key] = parameter["value"].removeprefix("\n").removesuffix("\n")
    closed = _CLOSED.match(text, call.end)
    if closed is None:
        return _broken(text, call, "after the parameters </function> was expected")
    call = evolve(call, end=closed.end(), arguments=arguments)
    if wrapped and (after := _TOOL_CALL_CLOSED.match(text, call.end)) is not None:
        call = evolve(call, end=after.end())
    elif wrapped and not text[call.end :].strip():
        return evolve(call, end=len(text), arguments=None, status=CallStatus.UNCLOSED_BLOCK, problem=_UNFINISHED)
    if not call.name:
        return evolve(call, arguments=None, status=CallStatus.MISSING_NAME, problem="the call names no tool")
    return call


_UNFINISHED = "the call is not finished"


def _broken(text: str, call: Written, problem: str) -> Written:
    """The call up to where the next one begins; unfinished where no closing tag comes before that."""
    following = _CALL.search(text, call.end)
    if following is not None and following[0] == "<function=" and call.end == call.start + len("<tool_call>"):
        following = _CALL.search(text, following.end())
    limit = len(text) if following is None else following.start()
    for tag in ("</tool_call>", "</function>"):
        end = text.find(tag, call.end, limit)
        if end >= 0:
            return evolve(call, end=end + len(tag), status=CallStatus.MALFORMED_STRUCTURE, problem=problem)
    status, problem = CallStatus.MALFORMED_STRUCTURE, problem
    if following is None:
        status, problem = CallStatus.UNCLOSED_BLOCK, _UNFINISHED
    return evolve(call, end=limit, status=status, problem=problem)
