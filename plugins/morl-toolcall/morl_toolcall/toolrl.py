"""The graders as ToolRL released them, for results that are to be compared with its own.

Written from the behaviour of the released reward (`rlla.py`, copied by verl and by the GDPO repository), with its
environment switches at their defaults.  The README lists where it departs from the paper.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from morl.errors import DataError
from morl_toolcall.scoring import HIGHEST, LOWEST


def format_score(text: str, gold: str) -> float:
    """1 if `text` has, in order and on their own lines, the tags that occur in the text of the reference answer."""
    text = text.strip()
    pattern = "<think>.*?</think>"
    for tag, field in (("tool_call", "\n<tool_call>\n.*?\n</tool_call>"), ("response", "\n<response>.*?</response>")):
        if f"<{tag}>" in gold:
            pattern += field
            if text.count(f"<{tag}>") != 1 or text.count(f"</{tag}>") != 1:
                return 0.0
    # Not fullmatch: the `$` of the released pattern is kept, as is its `.*?`, which may run over further tags.
    return float(re.search(f"^{pattern}$", text, re.DOTALL) is not None)


def correctness(text: str, gold: str) -> float:
    """Correctness in [-3, 3], and 0 wherever the reference answer has no call.

    Raises:
        DataError: a reference answer whose first `<tool_call>` is not followed by calls, one per line.
    """
    if "<tool_call>" not in gold:
        return 0.0
    try:
        gold_calls = _first_block(gold)
        gold_sizes = [(call["name"], len(call["parameters"])) for call in gold_calls]
    except _UNREADABLE as error:
        raise DataError(f"the reference answer cannot be read as ToolRL reads it: {error!r}") from error
    if "</tool_call>" not in text:
        return LOWEST
    try:
        return _score(_first_block(text), gold_calls, 1 + sum(1 + size for _, size in gold_sizes))
    except _UNREADABLE:
        return LOWEST


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
        best, best_index = 0.0, None
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
    return LOWEST + (HIGHEST - LOWEST) * score / highest


def _overlap(left: Sequence[Any], right: Sequence[Any]) -> float:
    """Size of the intersection of two multisets over that of their union."""
    if left == right:
        return 1.0
    shared = (Counter(left) & Counter(right)).total()
    return shared / (len(left) + len(right) - shared)
