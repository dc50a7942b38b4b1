"""What real training steps take: short runs of `morl.train`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trl_cases import GROUP, REWARDS, Case, make_prompts

from morl import Prompt, train


def train_steps(
    case: Case, model: Path, output: Path, steps: int, changes: Mapping[str, Any], warm_up: int
) -> list[dict[str, float]]:
    """Seconds by the clock of each step and its parts, after the first `warm_up`.

    Args:
        case: prompts, and the length of completions.
        model: folder of the policy.
        output: of the run.
        steps: of the run.
        changes: sections of the config.
        warm_up: steps that are left out.
    """
    config = {
        "output": str(output),
        "policy": {"path": str(model)},
        "sampling": {"max_tokens": case.max_tokens},
        "optimizer": {"lr": 1e-5},
        "training": {
            "steps": steps,
            "prompts_per_step": case.prompts,
            "group_size": GROUP,
            "inner_epochs": case.inner_epochs,
            "samples_every": 0,
            "checkpoint_every": 0,
        },
        "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
        **changes,
    }
    train(config, prompts=[Prompt(text) for text in make_prompts(case, steps * case.prompts)], rewards=REWARDS)
    with (output / "logs" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[warm_up:]
    return [{part: float(row[f"time/{part}"]) for part in ("sync", "rollout", "update", "step")} for row in rows]
