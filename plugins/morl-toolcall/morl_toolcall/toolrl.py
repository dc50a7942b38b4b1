"""The graders as ToolRL released them, for results that are to be compared with its own.

Written from the behaviour of the released reward (`rlla.py`, copied by verl and by the GDPO repository), with its
environment switches at their defaults.  The README lists where it departs from the paper.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from morl.errors import DataError
from morl_toolcall.scoring import HIGHEST, LOWEST, surplus_calls

ChatMarkers: TypeAlias = Literal["qwen", "llama", "keep"]

_MARKERS: Mapping[str, tuple[str, str]] = {
    "qwen": ("<|im_start|>assistant", "<|im_end|>"),
    "llama": ("<|start_header_id|>assistant<|end_header_id|>", "<|eot_id|>"),
}


def format_score(text: str, gold: str, *, chat_markers: ChatMarkers = "qwen") -> float:
    """1 if `text` has, in order and on their own lines, the tags that occur in the text of the reference answer.

    Args:
        chat_markers: whose; see `answer`.
    """
    text = answer(text, chat_markers).strip()
    pattern = "<think>.*?</think>"
    for tag, field in (("tool_call", "\n<tool_call>\n.*?\n</tool_call>"), ("response", "\n<response>.*?</response>")):
        if f"<{tag}>" in gold:
            pattern += field
            if text.count(f"<{tag}>") != 1 or text.count(f"</{tag}>") != 1:
                return 0.0
    # Not fullmatch: the `$` of the released pattern is kept, as is its `.*?`, which may run over further tags.
    return float(re.search(f"^{pattern}$", text, re.DOTALL) is not None)


def correctness(text: str, gold: str, *, chat_markers: ChatMarkers = "qwen") -> float:
    """Correctness in [-3, 3], and 0 wherever the reference answer has no call.

    Args:
        chat_markers: whose; see `answer`.

    Raises:
        DataError: a reference answer whose first `<tool_call>` is not followed by calls, one per line.
    """
    if "<tool_call>" not in gold:
        return 0.0
    gold_calls = _gold_calls(gold)
    text = answer(text, chat_markers)
    if "</tool_call>" not in text:
        return LOWEST
    try:
        return _score(_first_block(text), gold_calls, 1 + sum(1 + len(call["parameters"]) for call in gold_calls))
    except _UNREADABLE:
        return LOWEST


def surplus(text: str, gold: str, *, chat_markers: ChatMarkers = "qwen") -> int:
    """Number of calls beyond those of the reference answer, tool by tool; 0 where the calls cannot be read.

    Raises:
        DataError: as `correctness`.
    """
    wanted = _gold_calls(gold) if "<tool_call>" in gold else []
    text = answer(text, chat_markers)
    if "</tool_call>" not in text:
        return 0
    try:
        called = [call["name"] for call in _first_block(text)]
        return surplus_calls(called, [call["name"] for call in wanted])
    except _UNREADABLE:
        return 0


def answer(text: str, chat_markers: ChatMarkers) -> str:
    """What the released code takes for the answer: from the last opening marker of a chat template to the next end.

    It chooses the model's by the name of the experiment, always one of these two; `keep` takes the whole text.

    >>> answer("one <|im_end|> two <|im_start|>assistant three <|im_end|> four", "qwen")
    ' three '
    """
    if chat_markers == "keep":
        return text
    opening, end = _MARKERS[chat_markers]
    return text.split(opening)[-1].split(end)[0]


def _gold_calls(gold: str) -> list[Any]:
    try:
        calls = _first_block(gold)
        for call in calls:
            _ = call["name"], len(call["parameters"])
    except _UNREADABLE as error:
        raise DataError(f"the reference answer cannot be read as ToolRL reads it: {error!r}") from error
    return calls


_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def _first_block(text: str) -> list[Any]:
    block = text.split("<tool_call>")[1].split("</tool_call>")[0]
    return [json.loads(line) for line in block.strip().split("\n")]


def _score(calls: Sequence[Any], gold_calls: Sequence[Any], highest: int) -> float:
    if calls == gold_calls:
        return HIGHEST
    score = _overlap([call["name"] for call in gold_calls], [call["name"] for call in calls])
    used: set[int] = set()
    for gold_call in gold_calls:
        best, best_index = Fraction(0), None
        for index, call in enumerate(calls):
            if index in used or call["name"] != gold_call["name"]:
                continue
            wanted, given = gold_call["parameters"], call["parameters"]
            agreement = _overlap(list(wanted), list(given.keys()))
            agreement += sum(key in given and given[key] == value for key, value in wanted.items())
            if agreement > best:
                best, best_index = agreement, index
        if best_index is not None:
            used.add(best_index)
            score += best
    # Exact up to here, so that equal scores are equal floats; the released code can be off by a rounding error.
    return float(Fraction(LOWEST) + Fraction(HIGHEST - LOWEST) * score / highest)


def _overlap(left: Sequence[Any], right: Sequence[Any]) -> Fraction:
    """Size of the intersection of two multisets over that of their union."""
    if left == right:
        return Fraction(1)
    shared = (Counter(left) & Counter(right)).total()
    return Fraction(shared, len(left) + len(right) - shared)
