from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from morl.config.load import merge

WORDS = ("zero", "one", "two", "three", "four")


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Callable[..., dict[str, Any]]:
    """`config("--evaluation.samples=2")`: a config with ten held-out prompts, overrides applied."""
    rows = [{"prompt": f"the answer is {' '.join(WORDS[: n % 5])} {n}", "answer": str(n)} for n in range(10)]
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base: dict[str, Any] = {
        "seed": 1,
        "policy": {"path": "not/used/at/all"},
        "prompts": {"path": "not-read.jsonl"},
        "rewards": {
            "short": {"name": "length", "limit": 8},
            "vowel": {"name": "regex", "pattern": "[ae]", "weight": 0.5},
        },
        "sampling": {"max_tokens": 12},
        "evaluation": {"prompts": {"path": str(held_out)}, "samples": 4},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }
    return lambda *overrides: merge(base, overrides)
