"""Chat messages as chat templates expect them, from the forms in which data sets hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from morl.errors import DataError
from morl.types import Message

_TEXT_PARTS = ("text", "input_text", "output_text")
"""Types of the parts of a message's content that are text; the latter two are those of OpenAI's Responses API."""

_INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "reasoning_content", "thinking")
"""What an assistant's message may have in place of content."""


def chat_messages(content: Any, column: str, where: str) -> list[Message]:
    """A list of chat messages, checked.

    Content that is a list of text parts becomes one text, the parts one after the other.  Nulls are left out wherever
    they stand: columnar files give every object the union of all keys, and chat templates ask whether a key is there.

    Args:
        content: of a prompt.
        column: where it stood, for errors.
        where: names the row in errors.

    Raises:
        DataError: no list of messages, a part that is no text, a message that says nothing.

    >>> chat_messages([{"role": "user", "content": [{"type": "text", "text": "2+2?", "image": None}]}], "prompt", "row")
    [{'role': 'user', 'content': '2+2?'}]
    """
    if not _is_list(content) or not content:
        raise DataError(
            f"{where}: column {column!r} must hold text or a list of chat messages; got {type(content).__name__}"
            f"{'' if content is None else f' {content!r:.80}'}"
        )
    return [_message(message, column, where) for message in content]


def without_nulls(value: Any) -> Any:
    """A copy without the keys of mappings that are null, at every depth; the entries of lists stay.

    >>> without_nulls({"name": "f", "arguments": {"x": 1, "unit": None}, "values": [None]})
    {'name': 'f', 'arguments': {'x': 1}, 'values': [None]}
    """
    if isinstance(value, Mapping):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if _is_list(value) else value


def _message(message: Any, column: str, where: str) -> Message:
    is_message = isinstance(message, Mapping) and isinstance(message.get("role"), str)
    if not is_message or not ("content" in message or _says_otherwise(message)):
        raise DataError(
            f"{where}: a chat message is an object with `role` and `content`; column {column!r} has {message!r:.80}"
        )
    kept: dict[str, Any] = without_nulls(message)
    content = message.get("content")
    if _is_list(content):
        kept["content"] = "".join(_text(part, message["role"], column, where) for part in content)
    elif content is None:
        if not _says_otherwise(kept):
            raise DataError(
                f"{where}: the content of a message of the role {message['role']!r} in column {column!r} is null; only"
                " an assistant's may be, beside `tool_calls`"
            )
        kept["content"] = None
    elif not isinstance(content, str):
        raise DataError(
            f"{where}: the content of a message must be text or a list of text parts; column {column!r} has a message"
            f" of the role {message['role']!r} with {type(content).__name__} {content!r:.80}"
        )
    return kept


def _says_otherwise(message: Mapping[str, Any]) -> bool:
    return message["role"] == "assistant" and any(message.get(key) for key in _INSTEAD_OF_CONTENT)


def _text(part: Any, role: str, column: str, where: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        kind, text = part.get("type") or "text", part.get("text")
        others = [key for key, value in part.items() if value is not None and key not in ("type", "text")]
        if kind in _TEXT_PARTS and isinstance(text, str):
            return text
        what = f"a part of the type {kind!r}" + (f" ({', '.join(map(str, others))})" if others else "")
    else:
        what = f"{type(part).__name__} {part!r:.40}"
    raise DataError(
        f"{where}: the content of a message of the role {role!r} in column {column!r} holds {what}; morl trains on"
        " text: leave such rows out, or put text in its place"
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
