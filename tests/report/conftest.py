"""Run folders as training leaves them, but for the numbers, which a test chooses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """`make_folder(columns, samples, config)`: a run whose last step has these samples; None leaves a file out."""

    def make(
        columns: Mapping[str, Sequence[float | str]] | None,
        samples: Sequence[Mapping[str, Any]] | None,
        config: Mapping[str, Any] | None,
    ) -> Path:
        folder = tmp_path / "run"
        (folder / "logs").mkdir(parents=True)
        if config is not None:
            (folder / "config.yaml").write_text(yaml.safe_dump(dict(config)))
        if columns is not None:
            steps = len(next(iter(columns.values())))
            with (folder / "logs" / "metrics.csv").open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(["step", *columns])
                table.writerows([step + 1, *(column[step] for column in columns.values())] for step in range(steps))
        if samples is not None:
            (folder / "samples").mkdir()
            lines = "".join(json.dumps(row) + "\n" for row in samples)
            (folder / "samples" / "step-000008.jsonl").write_text(lines)
        return folder

    return make


def rows(scores: Sequence[Mapping[str, float | None]], group_size: int, **more: Any) -> list[dict[str, Any]]:
    """Samples with these rewards, groups one after another."""
    return [
        {
            "prompt_row": n // group_size,
            "prompt": f"question {n // group_size}",
            "completion": f"answer {n}",
            "tokens": 5,
            "truncated": False,
            "status": "completed",
            "rewards": dict(score),
            "contributions": dict.fromkeys(score, 0.0),
            "advantage": 0.0,
            **more,
        }
        for n, score in enumerate(scores)
    ]
