"""`<|tool_call>call:f{x:1,y:<|"|>a<|"|>}<tool_call|>`: Gemma 4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

from attrs import define, evolve

from morl.conversation.call_formats.written import CallFormat, Unreadable, Written, blocks, json_value, with_arguments
from morl.conversation.calls import CallStatus

_OPEN, _CLOSE, _QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
_CALL = re.compile(r"\s*call:(?P<name>[^{\s]*)\s*(?=\{)")
_KEY = re.compile(r"\s*([^:,{}\[\]<]+?)\s*:")
_SCALAR = re.compile(r"[^,{}\[\]<\s]+")
_SPACE = re.compile(r"\s*")
_DEEPEST = 100
"""Nesting of values; nobody means more."""


class Gemma4(CallFormat):
    """A name and an object, whose texts stand between tokens of their own."""

    begins: ClassVar[tuple[str, ...]] = (_OPEN,)

    def find(self, text: str) -> Iterator[Written]:
        for call, body, closed in blocks(text, _OPEN, _CLOSE):
            yield _read(call, body, closed)


def _read(call: Written, body: str, closed: bool) -> Written:
    begin = _CALL.match(body)
    call = evolve(call, name=begin["name"] if begin else "")
    if not closed:
        return evolve(call, status=CallStatus.UNCLOSED_BLOCK, problem="the call is not finished")
    if begin is None:
        problem = "a call must begin with call: and a name, and have its arguments in braces"
        return evolve(call, status=CallStatus.MALFORMED_STRUCTURE, problem=problem)
    if not call.name:
        return evolve(call, status=CallStatus.MISSING_NAME, problem="the call names no tool")
    reader = _Reader(body, begin.end())
    try:
        found = reader.value()
        reader.end()
    except Unreadable as error:
        return evolve(call, status=CallStatus.MALFORMED_STRUCTURE, problem=f"the arguments cannot be read: {error}")
    return with_arguments(call, found)


@define
class _Reader:
    """Reads values one after the other."""

    text: str
    position: int

    def value(self, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            raise Unreadable("it is nested too deeply")
        self._skip()
        if self.text.startswith(_QUOTE, self.position):
            start = self.position + len(_QUOTE)
            end = self.text.find(_QUOTE, start)
            if end < 0:
                raise Unreadable("a text is not closed")
            self.position = end + len(_QUOTE)
            return self.text[start:end]
        if self._take("{"):
            return dict(self._items("}", lambda: (self._key(), self.value(depth + 1))))
        if self._take("["):
            return self._items("]", lambda: self.value(depth + 1))
        scalar = _SCALAR.match(self.text, self.position)
        if scalar is None:
            raise self._expected("a value")
        self.position = scalar.end()
        return None if scalar[0] == "None" else json_value(scalar[0])

    def end(self) -> None:
        self._skip()
        if self.position < len(self.text):
            raise self._expected("the end")

    def _items(self, closing: str, item: Any) -> list[Any]:
        found: list[Any] = []
        while not self._take(closing):
            if found and not self._take(","):
                raise self._expected(f"a comma or {closing}")
            found.append(item())
        return found

    def _key(self) -> str:
        self._skip()
        if self.text.startswith(_QUOTE, self.position):
            key = str(self.value())
            if not self._take(":"):
                raise self._expected("a colon")
            return key
        match = _KEY.match(self.text, self.position)
        if match is None:
            raise self._expected("a name and a colon")
        self.position = match.end()
        return match[1]

    def _take(self, what: str) -> bool:
        self._skip()
        found = self.text.startswith(what, self.position)
        self.position += len(what) if found else 0
        return found

    def _skip(self) -> None:
        match = _SPACE.match(self.text, self.position)
        assert match is not None
        self.position = match.end()

    def _expected(self, what: str) -> Unreadable:
        return Unreadable(f"{what} was expected at {self.text[self.position : self.position + 20]!r}")
