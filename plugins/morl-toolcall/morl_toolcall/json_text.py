"""Finds JSON in text that a model wrote, in one pass.

Trying `json.loads` at every brace takes quadratic time on `{"a":[{"a":[ ..`.  Here every attempt goes on where the last
one failed: whatever stood open there fails as well, and what had closed before is kept.
"""

from __future__ import annotations

import json
import re
from typing import Any

from attrs import define, field, frozen

MAX_DEPTH = 400
"""Brackets that may stand open at once.  JSON nested deeper is not read; `json` itself gives up at about 1,000."""

_SPACE = re.compile(r"[ \t\n\r]*+")
_STRING_BODY = re.compile(r'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_SCALAR = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?")
_LONGEST_INTEGER = 4000  # digits; Python refuses to read more than 4,300


@frozen
class Scan:
    """What was found behind one opening brace.

    Attributes:
        spans: start and end of each complete object or list that lies in no other; the whole one if it is JSON.
        resume: where to look for the next brace: behind the whole one, or where it ceased to be JSON.
        whole: what begins at the brace is JSON.
        examined: characters looked at.
    """

    spans: tuple[tuple[int, int], ...]
    resume: int
    whole: bool
    examined: int


def scan(text: str, start: int) -> Scan:
    """Reads the JSON object or list that begins with the bracket at `text[start]`, or as much as there is of it.

    >>> text = '{"calls": [{"name": "f"}, {"name": "g"'
    >>> found = scan(text, 0)
    >>> [text[start:end] for start, end in found.spans], found.whole, text[: found.resume] == text
    (['{"name": "f"}'], False, True)
    """
    return _Scanner(text, start).run()


def decode(text: str) -> Any:
    """The value of a text that `scan` found to be JSON; integers too long for Python become floats.

    Raises:
        RecursionError: little of Python's stack is left.
    """
    return _DECODER.decode(text)


def decode_any(text: str) -> Any:
    """The value that the whole text is in JSON; the text itself if it is no JSON.

    >>> decode_any(" [1, true] "), decode_any("[1, true"), decode_any("1 or 2")
    ([1, True], '[1, true', '1 or 2')
    """
    # A list may hold it, so that a number or text by itself is read, too.
    wrapped = f"[{text}]"
    found = scan(wrapped, 0)
    if not found.whole or found.resume != len(wrapped):
        return text
    values = decode(wrapped)
    return values[0] if len(values) == 1 else text


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


_DECODER = json.JSONDecoder(parse_int=_integer)


@define
class _Scanner:
    """A pushdown automaton: what may come next, and the brackets that are open."""

    text: str
    position: int
    expected: str = field(default="value", init=False)  # or: first key, key, colon, first value, comma
    open: list[int] = field(factory=list, init=False)
    complete: list[tuple[int, int]] = field(factory=list, init=False)
    string: tuple[int, int] | None = field(default=None, init=False)
    examined: int = field(default=0, init=False)

    def run(self) -> Scan:
        start = self.position
        while self._token():
            if not self.open:
                return Scan(((start, self.position),), self.position, True, self.examined)
        return Scan(tuple(self.complete), max(self._resume(), start + 1), False, self.examined)

    def _token(self) -> bool:
        """Takes the next token; False if it cannot stand here."""
        self._take(_SPACE)
        character = self.text[self.position : self.position + 1]
        match self.expected, character:
            case "first key" | "key", '"':
                return self._string("colon")
            case "value" | "first value", '"':
                return self._string("comma")
            case "colon", ":":
                return self._step("value")
            case "comma", ",":
                return self._step("key" if self.text[self.open[-1]] == "{" else "value")
            case "value" | "first value", "{" | "[":
                return self._open(character)
            case "first key" | "comma", "}":
                return self._close("{")
            case "first value" | "comma", "]":
                return self._close("[")
            case "value" | "first value", _:
                return self._scalar()
        return False

    def _take(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.position)
        assert found is not None, "the pattern matches nothing at all, too"
        self.examined += found.end() - self.position + 1
        self.position = found.end()

    def _step(self, expected: str) -> bool:
        self.position += 1
        self.expected = expected
        self.string = None
        return True

    def _string(self, expected: str) -> bool:
        begin = self.position + 1
        self.position = begin
        self._take(_STRING_BODY)
        end = self.position
        closed = self.text[end : end + 1] == '"'
        if closed:
            self._step(expected)
        self.string = (begin, end)
        return closed

    def _scalar(self) -> bool:
        found = _SCALAR.match(self.text, self.position)
        if found is None:
            return False
        self.examined += found.end() - self.position
        self.position = found.end() - 1
        return self._step("comma")

    def _open(self, bracket: str) -> bool:
        if len(self.open) == MAX_DEPTH:
            return False
        self.open.append(self.position)
        return self._step("first key" if bracket == "{" else "first value")

    def _close(self, bracket: str) -> bool:
        if self.text[self.open[-1]] != bracket:
            return False
        start = self.open.pop()
        while self.complete and self.complete[-1][0] > start:
            self.complete.pop()
        self._step("comma")
        self.complete.append((start, self.position))
        return True

    def _resume(self) -> int:
        """Where it ceased to be JSON, or the brace with which the string before ends.

        `{"broken {"name": "f"}` ceases to be JSON at `name`, behind a string that holds the brace of an object.  No
        earlier brace in a string can begin one: a quotation mark would have to follow it, and that ends the string.
        """
        if self.string is not None:
            begin, end = self.string
            body = self.text[begin:end].rstrip(" \t")
            self.examined += end - begin
            if body.endswith("{"):
                return begin + len(body) - 1
        return self.position
