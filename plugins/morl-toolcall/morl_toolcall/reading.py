"""Reads completions leniently: the calls in whatever form they come, and whether the user was answered."""

from __future__ import annotations

import re

from attrs import define, field

from morl_toolcall.calls import PLAIN, Forms, ToolCall, as_call, tagged_call
from morl_toolcall.json_text import decode, scan

_TAG = re.compile(r"</?think>|<response>|<tool_call>")
_LANDMARK = re.compile(rf"{_TAG.pattern}|\{{")
_LANDMARK_OR_FUNCTION = re.compile(rf"{_LANDMARK.pattern}|<function=")


@define
class Reading:
    """What a completion holds besides its thinking.

    Attributes:
        calls: every call, tagged, half-tagged or bare; those within the thinking or the response do not count.
        responded: there is a `<response>` that ends, with a letter or digit in it.
        block: there is a `<tool_call>`, with or without a call that can be read.
        examined: characters looked at; bounded by a multiple of the length of the text.
    """

    calls: list[ToolCall] = field(factory=list)
    responded: bool = False
    block: bool = False
    examined: int = 0


def read(text: str, forms: Forms = PLAIN) -> Reading:
    """Reads a completion.

    Thinking lasts from `<think>` to the next `</think>`; one that never closes lasts to the end, and a `</think>` that
    nothing opened (as when the prompt ended with `<think>`) makes thinking of all before it.  JSON objects without a
    `name` are looked into, so calls in a list or a wrapper are found.

    >>> reading = read('<think> {"name": "no"} </think> so: [{"name": "a"}, {"name": "b"}')
    >>> [call.name for call in reading.calls]
    ['a', 'b']
    """
    return _Reader(text, forms).run()


def find_calls(text: str, forms: Forms = PLAIN) -> tuple[ToolCall, ...]:
    """Every call in `text`; see `read`."""
    return tuple(read(text, forms).calls)


@define
class _Reader:
    text: str
    forms: Forms
    reading: Reading = field(factory=Reading, init=False)

    def run(self) -> Reading:
        landmarks = _LANDMARK_OR_FUNCTION if "function-tags" in self.forms else _LANDMARK
        position = 0
        while landmark := landmarks.search(self.text, position):
            match landmark.group():
                case "{":
                    position = self._brace(landmark.start())
                case "<function=":
                    call, position = tagged_call(self.text, landmark.start())
                    self.reading.calls += [call] if call else []
                    self.reading.examined += position - landmark.start()
                case tag:
                    position = self._tag(tag, landmark.end())
        self.reading.examined += len(self.text)
        return self.reading

    def _tag(self, tag: str, position: int) -> int:
        """Takes a tag that ends at `position`, and what it encloses; returns where to go on."""
        match tag:
            case "<tool_call>":
                self.reading.block = True
            case "</think>":
                self.reading = Reading(examined=self.reading.examined)
            case opening:
                closing = opening.replace("<", "</")
                end = self.text.find(closing, position)
                if end < 0:
                    return len(self.text)
                if opening == "<response>" and any(map(str.isalnum, self.text[position:end])):
                    self.reading.responded = True
                return end + len(closing)
        return position

    def _brace(self, start: int) -> int:
        """Takes the JSON that begins at `start`, or what is complete of it; returns where to go on."""
        found = scan(self.text, start)
        self.reading.examined += found.examined
        position = start
        for begin, end in found.spans:
            position = self._tags(position, begin)
            if position <= begin:
                self.reading.calls += _calls_in(decode(self.text[begin:end]), self.forms)
                position = end
        return self._tags(position, found.resume)

    def _tags(self, position: int, end: int) -> int:
        """Takes the tags up to `end` that stood where JSON was tried; returns `end`, or behind what a tag encloses."""
        while position < end and (tag := _TAG.search(self.text, position, end)):
            position = self._tag(tag.group(), tag.end())
        return max(position, end)


def _calls_in(value: object, forms: Forms) -> list[ToolCall]:
    """The calls within a JSON value, in their order; a call is not looked into."""
    calls: list[ToolCall] = []
    pending = [value]
    while pending:
        item = pending.pop()
        if call := as_call(item, forms):
            calls.append(call)
        elif isinstance(item, dict):
            pending.extend(reversed(item.values()))
        elif isinstance(item, list):
            pending.extend(reversed(item))
    return calls
