"""The graders with the paper's formula; `morl_toolcall.grading` has them with every choice."""

from __future__ import annotations

from functools import partial

from morl_toolcall import grading
from morl_toolcall.grading import format_score, read_gold

correctness = partial(grading.correctness, variant="paper")
"""`morl_toolcall.grading.correctness` with the paper's formula."""

__all__ = ["correctness", "format_score", "read_gold"]
