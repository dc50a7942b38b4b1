"""`<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>`: Hermes, Qwen 2.5, Qwen 3."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from morl.conversation.call_formats.written import CallFormat, Written, from_json, json_end

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_NEXT = re.compile(f"{_CLOSE}|(?={_OPEN})")
_SPACE = re.compile(r"\s*")


class Hermes(CallFormat):
    """JSON between tags.

    A block ends at its closing tag, or, where there is none, at the next opening one; tags within the strings of the
    JSON are text.
    """

    begins: ClassVar[tuple[str, ...]] = (_OPEN,)

    def find(self, text: str) -> Iterator[Written]:
        start = text.find(_OPEN)
        while start >= 0:
            inside = start + len(_OPEN)
            body_end, end, closed = block_end(text, inside)
            yield from_json(Written(start, end), text[inside:body_end], closed=closed)
            start = text.find(_OPEN, end)


def block_end(text: str, inside: int) -> tuple[int, int, bool]:
    """End of the body of a block that begins at `inside`, end of the block, and whether it was closed or ended well."""
    value_end = json_end(text, _after_space(text, inside))
    if value_end is not None:
        after = _after_space(text, value_end)
        if text.startswith(_CLOSE, after):
            return value_end, after + len(_CLOSE), True
    match = _NEXT.search(text, inside)
    if match is None:
        return len(text), len(text), False
    return match.start(), match.end(), bool(match[0])


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()
