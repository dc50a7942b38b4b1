"""`<tool_call><function=f><parameter=x>1</parameter></function></tool_call>`: Qwen 3.5 and later, Nemotron 3."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from attrs import evolve

from morl.conversation.call_formats.written import CallFormat, Written
from morl.conversation.calls import CallStatus

_CALL = re.compile(r"<tool_call>\s*(?:<function=)?|<function=")
_NAME = re.compile(r"([^<>\n]*)>")
_PARAMETER = re.compile(
    r"\s*<parameter=(?P<key>[^<>\n]*)>(?P<value>.*?)</parameter>(?=\s*(?:<parameter=|</function>|\Z))", re.DOTALL
)
_CLOSED = re.compile(r"\s*</function>")
_TOOL_CALL_CLOSED = re.compile(r"\s*</tool_call>")
_UNFINISHED = "the call is not finished"


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
            call = _read(text, match)
            yield call
            match = _CALL.search(text, call.end)


def _read(text: str, opening: re.Match[str]) -> Written:
    call = Written(opening.start(), opening.end())
    name = _NAME.match(text, call.end) if opening[0].endswith("=") else None
    if name is None:
        return _broken(text, call, "a call must begin with <function=..>")
    call = evolve(call, end=name.end(), name=name[1].strip())
    arguments: dict[str, str] = {}
    while (parameter := _PARAMETER.match(text, call.end)) is not None:
        call, key = evolve(call, end=parameter.end()), parameter["key"].strip()
        if not key or key in arguments:
            return _broken(text, call, f"the parameter {key!r} is given twice" if key else "a parameter has no name")
        arguments[key] = parameter["value"].removeprefix("\n").removesuffix("\n")
    closed = _CLOSED.match(text, call.end)
    if closed is None:
        return _broken(text, call, "after the parameters </function> was expected")
    call = evolve(call, end=closed.end())
    if opening[0].startswith("<tool_call>"):
        after = _TOOL_CALL_CLOSED.match(text, call.end)
        if after is None and not text[call.end :].strip():
            return evolve(call, end=len(text), status=CallStatus.UNCLOSED_BLOCK, problem=_UNFINISHED)
        call = evolve(call, end=call.end if after is None else after.end())
    if not call.name:
        return evolve(call, status=CallStatus.MISSING_NAME, problem="the call names no tool")
    return evolve(call, arguments=arguments)


def _broken(text: str, call: Written, problem: str) -> Written:
    """The call up to its closing tag, or to the next call; the last one without a closing tag is unfinished."""
    following = _CALL.search(text, call.end)
    limit = len(text) if following is None else following.start()
    ends = [end + len(tag) for tag in ("</tool_call>", "</function>") if (end := text.find(tag, call.end, limit)) >= 0]
    if following is None and not ends:
        return evolve(call, end=limit, status=CallStatus.UNCLOSED_BLOCK, problem=_UNFINISHED)
    end = max(ends, default=limit)
    return evolve(call, end=end, status=CallStatus.MALFORMED_STRUCTURE, problem=problem)
