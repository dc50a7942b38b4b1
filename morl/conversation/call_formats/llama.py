"""`{"name": "f", "parameters": {"x": 1}}` as the whole reply: Llama 3.1 and 3.2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from morl.conversation.call_formats.written import CallFormat, Unreadable, Written, from_json, json_end, json_value

_TAG = "<|python_tag|>"
_ARGUMENTS = ("parameters", "arguments")
_SEPARATOR = re.compile(r"[\s;]*")
_LOOKS_LIKE_A_CALL = re.compile(r'\{\s*"(?:name|type)"\s*:')


class LlamaJson(CallFormat):
    """JSON without tags, so that only a reply that begins with it is one of calls.

    Several calls may follow each other, with spaces or semicolons between them.  JSON without a name is an answer, not
    a call, unless `<|python_tag|>` stands before it.
    """

    begins: ClassVar[tuple[str, ...]] = (_TAG,)

    def find(self, text: str) -> Iterator[Written]:
        position = _after_separator(text, 0)
        tagged = text.startswith(_TAG, position)
        if tagged:
            position = _after_separator(text, position + len(_TAG))
        start = text.find(_TAG) if tagged else position
        while position < len(text):
            end = json_end(text, position) if text[position] == "{" else None
            whole = end is not None
            end = len(text) if end is None else end
            body = text[position:end]
            if not tagged and not _is_call(body, whole):
                return
            call = Written(start, _after_separator(text, end), raw=body)
            yield from_json(
                call,
                body,
                closed=whole or not body.startswith("{") or body.rstrip().endswith("}"),
                arguments=_ARGUMENTS,
            )
            start = position = call.end


def _is_call(body: str, whole: bool) -> bool:
    """JSON with a name, or what was to become such JSON."""
    if not whole:
        return _LOOKS_LIKE_A_CALL.match(body) is not None
    try:
        found = json_value(body)
    except Unreadable:
        return _LOOKS_LIKE_A_CALL.match(body) is not None
    return isinstance(found, dict) and "name" in found and (len(found) == 1 or any(key in found for key in _ARGUMENTS))


def _after_separator(text: str, position: int) -> int:
    match = _SEPARATOR.match(text, position)
    assert match is not None
    return match.end()
