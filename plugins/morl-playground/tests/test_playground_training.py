"""A short training run on each of the small tasks of mathematics and code: the rewards rise on held-out prompts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import morl

REWARDS: Mapping[str, Mapping[str, Any]] = {
    "math": {"correct": {"name": "exact-match", "column": "answer", "extract": r"= (\d+)$"}},
    "code": {"code": {"name": "playground-code"}},
}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "gains"), [("math", {"correct": 0.3}), ("code", {"pass": 0.1, "bug": 0.3})])
def test_the_rewards_rise(task: str, gains: Mapping[str, float], tmp_path: Path) -> None:
    result = morl.train(
        {
            "output": str(tmp_path / "run"),
            "policy": {"name": "playground", "task": task, "cache": str(tmp_path / "cache")},
            "prompts": {"name": f"playground-{task}"},
            "evaluation": {"prompts": {"name": f"playground-{task}", "split": "test"}},
            "rewards": REWARDS[task],
            "sampling": {"max_tokens": 24},
            "optimizer": {"lr": 1e-3, "betas": [0.9, 0.95], "schedule": "linear", "warmup_steps": 5},
            "training": {"steps": 30, "prompts_per_step": 16, "mini_batches": 2, "samples_every": 0},
            "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
        }
    )
    before, after = result.evaluations[0], result.evaluations[30]
    for reward, gain in gains.items():
        assert after[reward] - before[reward] > gain
