"""Runs as a study sees them: what each one is called, and what its folder says."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from attrs import field, frozen

from morl.artifacts.evaluations import read_evaluations
from morl.artifacts.folder import RunFolder
from morl.artifacts.history import Change, read_history
from morl.artifacts.metrics import REWARD_MEAN
from morl.artifacts.table import read_rows
from morl.errors import DataError

Floats = npt.NDArray[np.float64]


@frozen
class LabelledRun:
    """A finished run and its place in the study.

    Args:
        line: label of the curve that the run belongs to; the runs of a line differ by their seed alone.
        seed: runs of the same seed in different lines are compared with each other.
        folder: the run folder.
        settings: what the study varied, by dotted name (`rewards.length.weight`), and the value in this run.
        arm: the line without its settings; the line itself if None.
    """

    line: str
    seed: int
    folder: Path = field(converter=Path)
    settings: Mapping[str, Any] = field(factory=dict)
    arm: str | None = None


@frozen
class FailedRun:
    """A run that did not come to its end.

    Args:
        line: label of the curve that the run would have belonged to.
        seed: its seed.
        error: why it failed, as its user is to read it.
        log: where there is more to read.
    """

    line: str
    seed: int
    error: str
    log: Path | None = None


def sorted_out(runs: Sequence[LabelledRun]) -> tuple[list[Run], list[FailedRun]]:
    """The runs that can be read, and the others, which are reported as failed.

    Raises:
        DataError: none can be read; that of the first.
    """
    readable: list[Run] = []
    damaged: list[FailedRun] = []
    for run in runs:
        try:
            readable.append(read_run(run))
        except DataError as error:
            damaged.append(FailedRun(run.line, run.seed, f"its folder cannot be read: {error}"))
            if len(damaged) == len(runs):
                raise
    return readable, damaged


@frozen(eq=False)
class Curve:
    """A metric of one run: its finite values and the finished steps they belong to, in rising order."""

    steps: Floats
    values: Floats

    @classmethod
    def of(cls, points: Mapping[int, float]) -> Curve:
        """Without NaN and infinite values: a reward that did not apply has no mean."""
        kept = sorted((step, value) for step, value in points.items() if math.isfinite(value))
        array = np.array(kept, dtype=np.float64).reshape(-1, 2)
        return cls(array[:, 0], array[:, 1])

    def __len__(self) -> int:
        return len(self.steps)


@frozen(eq=False)
class Run:
    """The content of a run folder.

    Args:
        metrics: columns of `logs/metrics.csv`; a row's step is the number of finished steps.
        held_out: rewards and figures of the completions on the held-out prompts, from `evaluation.json`.
        rewards: names of the rewards, in the order of the evaluation where there is one.
        config: the resolved config.
        versions: of Python, plugins and libraries, by name.
        scored: of rewards that some held-out completions have no score of, by finished steps, a fingerprint of those
            that have one.
        changes: settings and files that were others when the run was resumed.
    """

    label: LabelledRun
    metrics: Mapping[str, Curve]
    held_out: Mapping[str, Curve]
    rewards: tuple[str, ...]
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    scored: Mapping[str, Mapping[int, str]] = field(factory=dict)
    changes: tuple[Change, ...] = ()

    @property
    def line(self) -> str:
        return self.label.line

    @property
    def seed(self) -> int:
        return self.label.seed

    @property
    def steps(self) -> int:
        """Finished steps."""
        return int(max((curve.steps[-1] for curve in self.metrics.values() if len(curve)), default=0))


def read_run(label: LabelledRun) -> Run:
    """Reads a run folder (`docs/reference/run-folder.md`).

    Raises:
        DataError: the folder lacks its metrics or its config, or they hold something else.
    """
    folder = RunFolder(label.folder)
    metrics = _metrics(_present(folder.metrics))
    trained = [reward for reward in map(REWARD_MEAN.reward_in, metrics) if reward is not None]
    if not trained:
        raise DataError(f"{folder.metrics} has no column {REWARD_MEAN.name}: no step was finished")
    held_out, scored = _evaluations(folder.evaluation)
    evaluated = [name for name in held_out if name in trained]
    # The evaluation keeps the order of the config, Lightning's table is sorted.
    rewards = (*evaluated, *(name for name in trained if name not in evaluated))
    config = _config(_present(folder.config))
    changes = tuple(change for change in read_history(folder.history) if change.step)
    return Run(label, metrics, held_out, rewards, config, _versions(folder.environment), scored, changes)


def _present(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path.name} is missing: {path}; a finished run has one, so report this run as failed")
    return path


def _metrics(path: Path) -> dict[str, Curve]:
    """Columns of the table; an empty cell is a gap, and of two rows of a step the later one counts."""
    rows, faults = read_rows(path)
    for number, fault in faults.items():
        raise DataError(f"{path}, line {number}, is not a row of metrics: {fault}")
    points: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        for name, value in row.items():
            points[name][int(row["step"])] = value
    return {name: Curve.of(column) for name, column in points.items()}


def _evaluations(path: Path) -> tuple[dict[str, Curve], dict[str, dict[int, str]]]:
    if not path.is_file():
        return {}, {}
    scored: dict[str, dict[int, str]] = defaultdict(dict)
    points: dict[str, dict[int, float]] = defaultdict(dict)
    for row in read_evaluations(path):
        for name, value in row["metrics"].items():
            points[name][row["step"]] = math.nan if value is None else float(value)
        for name, fingerprint in row["scored"].items():
            scored[name][row["step"]] = fingerprint
    return {name: Curve.of(column) for name, column in points.items()}, scored


def _config(path: Path) -> dict[str, Any]:
    """PyYAML wrote the resolved config, so its own loader reads it back exactly."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path} is not a config: {error}") from error
    if not isinstance(config, dict):
        raise DataError(f"{path} is not a config: expected a mapping, got {type(config).__name__}")
    return config


def _versions(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
        return {"python": environment["python"], **environment["plugins"], **environment["libraries"]}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} does not hold versions: {error!r}") from error
