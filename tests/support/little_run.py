"""A run folder as little as the commands that read one need; written with the standard library alone."""

from __future__ import annotations

import json
from pathlib import Path


def little_run(folder: Path) -> Path:
    """Four steps of the rewards `brief` and `right`, with the samples of the last."""
    (folder / "logs").mkdir(parents=True)
    (folder / "samples").mkdir()
    rewards = {name: {"name": "length", "limit": 3} for name in ("brief", "right")}
    (folder / "config.yaml").write_text(json.dumps({"rewards": rewards, "estimator": {"name": "gdpo"}}))
    header = "step,reward/brief/mean,reward/right/mean"
    rows = [f"{step},{step / 10},{1 - step / 10}" for step in range(1, 5)]
    (folder / "logs" / "metrics.csv").write_text("\n".join([header, *rows]) + "\n")
    samples = [
        {"step": 4, "group": 0, "prompt_row": 0, "prompt": "p", "completion": f"c{row}", "status": "completed"}
        | {"tokens": 3, "rewards": {"brief": float(row), "right": float(row == 1)}, "advantage": row - 1.5}
        for row in range(4)
    ]
    (folder / "samples" / "step-00004.jsonl").write_text("\n".join(map(json.dumps, samples)) + "\n")
    return folder


def reading(run: Path) -> list[list[str]]:
    """What the extra `report` is for: arguments of `morl`, a list for each call."""
    return [
        ["report", str(run)],
        ["explain", str(run)],
        ["explain", str(run), "--completion=1"],
        ["replay", str(run), "--estimator=grpo", "--set", "eps=1e-3"],
        ["audit", str(run)],
        ["analyze", "gdpo", "grpo", "--group-size=2"],
        ["estimators", "compare", str(run)],
    ]
