"""What a sentence with a given word is rewarded for, beside being one sentence: plain functions in TRL's form."""

from __future__ import annotations

import re
from typing import Any

LENGTHS = range(6, 13)


def has_word(completions: list[Any], word: list[str], **_: Any) -> list[float]:
    """1 where the word that was asked for is there."""
    return [float(count(given, text_of(c)) >= 1) for c, given in zip(completions, word, strict=True)]


def word_once(completions: list[Any], word: list[str], **_: Any) -> list[float]:
    """1 where it is there exactly once."""
    return [float(count(given, text_of(c)) == 1) for c, given in zip(completions, word, strict=True)]


def word_count(completions: list[Any], **_: Any) -> list[float]:
    """1 for 6 to 12 words."""
    return [float(len(text_of(c).split()) in LENGTHS) for c in completions]


def count(word: str, text: str) -> int:
    """How often the whole word occurs, in any case.

    >>> count("dog", "Dogs know: a dog is a DOG.")
    2
    """
    return len(re.findall(rf"\b{re.escape(word)}\b", text, re.IGNORECASE))


def text_of(completion: Any) -> str:
    """The text of a completion, which is a list of messages where the prompt was a chat."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])
