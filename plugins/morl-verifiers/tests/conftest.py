"""Tasksets of the tests, by the path that a config has for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TASKSETS = Path(__file__).parent / "tasksets"


@pytest.fixture(scope="session")
def sums() -> Callable[[str], str]:
    """`sums("Sums")`: a class of `tasksets/sums.py`."""
    return lambda name: f"{TASKSETS / 'sums.py'}:{name}"


@pytest.fixture(scope="session")
def say() -> Callable[..., dict[str, Any]]:
    """`say("text")` or `say("", ("tool", {"argument": 1}), ..)`: a reply of the policy."""

    def reply(content: str, *calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        called = [
            {"type": "function", "id": f"call{number}", "function": {"name": name, "arguments": arguments}}
            for number, (name, arguments) in enumerate(calls)
        ]
        return {"role": "assistant", "content": content} | ({"tool_calls": called} if called else {})

    return reply
