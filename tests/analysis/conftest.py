"""Run folders as training leaves them, but for the numbers, which a test chooses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from morl.analysis import LabelledRun

MakeRun = Callable[..., LabelledRun]


def write_run(
    folder: Path,
    seed: int,
    rewards: Mapping[str, Sequence[float]],
    held_out: Mapping[int, Mapping[str, float | None]] | None,
    config: Mapping[str, Any],
) -> None:
    steps = len(next(iter(rewards.values())))
    rows = []
    for step in range(steps):
        row: dict[str, Any] = {"step": step + 1, "advantage/distinct": 4, "advantage/max_abs": 1.5 + step}
        row |= {"groups/with_signal": 0.5, "reward/distinct_combinations": 3}
        for name, values in rewards.items():
            row |= {f"reward/{name}/mean": values[step], f"reward/{name}/dead_groups": 0.25}
            row[f"reward/{name}/advantage_share"] = 1 / len(rewards)
        rows.append(row)
    (folder / "logs").mkdir(parents=True)
    with (folder / "logs" / "metrics.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=sorted(rows[0]))
        table.writeheader()
        table.writerows(rows)
    if held_out is not None:
        entries = [
            {"step": step, "metrics": {**metrics, "completions/length_mean": 9.0, "completions/truncated": 0.0}}
            for step, metrics in held_out.items()
        ]
        (folder / "evaluation.json").write_text(json.dumps(entries))
    tree = {"seed": seed, "output": str(folder), "policy": {"name": "tiny", "seed": seed}, "optimizer": {"lr": 1e-6}}
    (folder / "config.yaml").write_text(yaml.safe_dump(tree | dict(config), sort_keys=False))
    environment = {"python": "3.11.7", "plugins": {"morl-llm": "0.2.0"}, "libraries": {"torch": "2.13.0"}}
    (folder / "environment.json").write_text(json.dumps(environment))


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """`make_run(line, seed, {reward: values of the steps}, {step: {reward: value}}, settings, arm, **config)`."""

    def make(
        line: str,
        seed: int,
        rewards: Mapping[str, Sequence[float]],
        held_out: Mapping[int, Mapping[str, float | None]] | None = None,
        settings: Mapping[str, Any] | None = None,
        arm: str | None = None,
        /,
        **config: Any,
    ) -> LabelledRun:
        folder = tmp_path_factory.mktemp("run")
        write_run(folder, seed, rewards, held_out, config)
        return LabelledRun(line, seed, folder, settings or {}, arm)

    return make


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[2]
