"""What a tool answered, as the text that the policy reads."""

from __future__ import annotations

import json
import re
from typing import Any

from morl.errors import ConfigError, told

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,}")
CUT = "\n... ({left} of {all} characters left out)"


class NoTextError(TypeError):
    """A result that nobody can read."""


def check_limit(max_result: int | None) -> None:
    """Refuses a limit of a result that leaves nothing of it.

    Raises:
        ConfigError: less than one character.
    """
    if max_result is not None and max_result < 1:
        raise ConfigError(f"max_result must be 1 character or more, or null; got {max_result}")


def result_text(value: Any, limit: int | None) -> str:
    """A result as text: text and bytes as they are, anything else as JSON.

    Sets are sorted lists there, and what else JSON does not know is what `str` makes of it.

    Raises:
        NoTextError: something without a text of its own, such as a generator: Python would write where it lies in
            memory, which is another place in every run.

    >>> result_text({"sum": 5}, None), result_text(None, None), result_text("abcdef", 4)
    ('{"sum": 5}', 'null', 'abcd\\n... (2 of 6 characters left out)')
    """
    if isinstance(value, str | bytes | bytearray):
        text = _plain(value)
    else:
        try:
            text = json.dumps(value, ensure_ascii=False, default=_known)
        except NoTextError:
            raise
        except (TypeError, ValueError):  # keys that are no texts, a structure that holds itself
            text = _plain(value)
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
    return result_text(f"Error: {told(error)}", limit)


def _known(value: Any) -> Any:
    """What JSON knows in the place of something that it does not."""
    if isinstance(value, set | frozenset):  # whose order is another one in every process
        return sorted(value, key=lambda item: result_text(item, None))
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    text = str(value)
    if _ADDRESS.search(text):
        raise NoTextError(
            f"the tool returned a {type(value).__name__}, which has no text; return text, a list or a dict"
        )
    return text
