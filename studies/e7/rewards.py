"""Two rewards that pull against each other in a small chat model: the more of the words, the longer the text."""

from __future__ import annotations

import re
from typing import Any

MOST_WORDS = 12
POINTS = 8
_SENTENCE = re.compile(r"\s*[A-Z][^.!?\n]*[.!?]\s*")


def used(completions: list[Any], words: list[list[str]], **_: Any) -> list[float]:
    """Eight points for each of the four given words, 0 to 32: a large range beside that of `brief`."""
    return [
        POINTS * float(sum(bool(re.search(rf"\b{re.escape(word)}\b", text_of(one), re.IGNORECASE)) for word in given))
        for one, given in zip(completions, words, strict=True)
    ]


def brief(completions: list[Any], **_: Any) -> list[float]:
    """1 for a single sentence of at most 12 words."""
    return [
        float(_SENTENCE.fullmatch(text_of(one)) is not None and len(text_of(one).split()) <= MOST_WORDS)
        for one in completions
    ]


def text_of(completion: Any) -> str:
    """The text of a completion, which is a list of messages where the prompt was a chat."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])
