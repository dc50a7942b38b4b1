"""Rewards as users of other trainers have them: plain functions."""

from __future__ import annotations

import re
from typing import Any

POLITE = re.compile(r"\b(please|thank you|thanks|you're welcome)\b", re.IGNORECASE)


def politeness(completions: list[Any], **columns: Any) -> list[float]:
    """In TRL's form: 1 for a completion with a polite word, else 0."""
    texts = [completion if isinstance(completion, str) else completion[-1]["content"] for completion in completions]
    return [float(POLITE.search(text) is not None) for text in texts]


def compute_score(data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None) -> dict[str, float]:
    """In verl's form: whether the last number is the right one, and whether anything follows it."""
    numbers = list(re.finditer(r"-?\d+(?:\.\d+)?", solution_str))
    last = numbers[-1] if numbers else None
    return {
        "score": float(last is not None and last[0] == ground_truth),
        "ends_with_it": float(last is not None and not solution_str[last.end() :].strip()),
    }
