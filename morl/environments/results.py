"""What a tool answered, as the text that the policy reads."""

from __future__ import annotations

import json
from typing import Any

from morl.errors import ConfigError

CUT = "\n... ({left} of {all} characters left out)"


def check_limit(max_result: int | None) -> None:
    """Refuses a limit of a result that leaves nothing of it.

    Raises:
        ConfigError: less than one character.
    """
    if max_result is not None and max_result < 1:
        raise ConfigError(f"max_result must be 1 character or more, or null; got {max_result}")


def result_text(value: Any, limit: int | None) -> str:
    """A result as text: text as it is, anything else as JSON, what JSON does not know by `str`.

    >>> result_text({"sum": 5}, None), result_text(None, None), result_text("abcdef", 4)
    ('{"sum": 5}', 'null', 'abcd\\n... (2 of 6 characters left out)')
    """
    if isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, ensure_ascii=False, default=str)
        except (TypeError, ValueError):  # keys that are no texts, a structure that holds itself
            text = str(value)
    # Half a character can be in a text of Python, and in no text that a tokenizer takes.
    text = text.encode("utf-8", "replace").decode("utf-8")
    if limit is None or len(text) <= limit:
        return text
    return text[:limit] + CUT.format(left=len(text) - limit, all=len(text))


def error_text(error: BaseException, limit: int | None) -> str:
    """An exception, as the policy is told it.

    >>> error_text(ValueError("no such city"), None)
    'Error: ValueError: no such city'
    """
    return result_text(f"Error: {type(error).__name__}: {error}", limit)
