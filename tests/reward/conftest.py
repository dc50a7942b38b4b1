"""Completions and providers that the reward tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from morl.types import Completion, Prompt


@pytest.fixture
def completions() -> list[Completion]:
    """Four completions of two prompts."""
    prompts = [Prompt("2+2?", {"answer": "4"}), Prompt("3+3?", {"answer": "6"})]
    return [Completion(prompts[row // 2], f"text {row}", tuple(range(row + 1))) for row in range(4)]


class Scripted:
    """A provider that answers with what a function makes of the completions."""

    def __init__(self, answer: Callable[[Sequence[Completion]], Any], **attributes: Any) -> None:
        self.answer = answer
        for name, value in attributes.items():
            setattr(self, name, value)

    def score(self, completions: Sequence[Completion]) -> Any:
        return self.answer(completions)


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted
