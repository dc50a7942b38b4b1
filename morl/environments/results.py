"""What a tool answered, as the text that the policy reads."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Mapping, MappingView, Sequence, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from morl.errors import ConfigError, told

_log = logging.getLogger(__name__)

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,}")
_JSON = (str, dict, list, tuple, int, float, type(None))
"""What JSON has a form of; the rest is first made into these, or into text."""
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

    Numbers and arrays of numpy and torch are numbers and lists there, dataclasses and models of pydantic objects, sets
    sorted lists; blocks of text, as tools of MCP give them, are their texts.  What JSON does not know, such as a date
    or a table of pandas, is what `str` makes of it.

    Raises:
        NoTextError: something without a text of its own, such as a generator: Python would write where it lies in
            memory, which is another place in every run.

    >>> result_text({"sum": 5}, None), result_text(None, None), result_text("abcdef", 4)
    ('{"sum": 5}', 'null', 'abcd\\n... (2 of 6 characters left out)')
    """
    text = _text(value)
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


def warn_once(seen: set[tuple[str, type]], tool: str, error: BaseException) -> None:
    """Says where a tool raised, once for each kind of error: it may be the tool's fault, and not the policy's.

    Args:
        seen: what has been said, which grows.
        tool: its name.
        error: that the policy is told.
    """
    if (tool, type(error)) in seen:
        return
    seen.add((tool, type(error)))
    frames = traceback.extract_tb(error.__traceback__)
    theirs = frames and not isinstance(error, NoTextError)  # which is raised here
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if theirs else ""
    _log.warning(
        "the tool %s failed: %s%s; the policy is told, and further failures of this kind are only counted",
        tool, told(error), place,
    )  # fmt: skip


def _text(value: Any) -> str:
    plain = value if isinstance(value, _JSON) else _known(value)
    if isinstance(plain, str):
        return plain
    blocks = text_blocks(plain)
    if blocks is not None:
        return "\n".join(blocks)
    try:
        return json.dumps(plain, ensure_ascii=False, default=_known)
    except NoTextError:
        raise
    except (TypeError, ValueError):  # keys that are no texts, a structure that holds itself
        return _plain(value)


def text_blocks(value: Any) -> list[str] | None:
    """The texts of blocks of content, of MCP's form or a chat message's; None where it is no list of these alone."""
    if not isinstance(value, list | tuple) or not value:
        return None
    blocks = [block if isinstance(block, Mapping) else getattr(block, "__dict__", {}) for block in value]
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    return texts if len(texts) == len(value) and all(isinstance(text, str) for text in texts) else None  # type: ignore[return-value]


def _known(value: Any) -> Any:
    """What JSON knows in the place of something that it does not."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
        return dump(mode="json")
    if type(value).__module__.partition(".")[0] in ("numpy", "torch") and callable(getattr(value, "tolist", None)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set) and not isinstance(value, MappingView):  # its order is another one in every process
        return sorted(value, key=lambda item: result_text(item, None))
    if isinstance(value, MappingView | Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)  # type: ignore[arg-type]  # views are iterable
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    text = str(value)
    if _ADDRESS.search(text):
        raise NoTextError(
            f"the tool returned a {type(value).__name__}, which has no text; return text, a list or a dict"
        )
    return text
