"""A run folder of any age and in any state: what is there is read, what is missing is said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from morl.analysis.runs import Curve
from morl.artifacts.folder import RunFolder
from morl.artifacts.metrics import REWARD_MEAN
from morl.artifacts.table import read_rows
from morl.errors import ConfigError, DataError
from morl.report.samples import StepSamples, read_samples, sample_files


@frozen(eq=False)
class View:
    """What a run folder says.

    Attributes:
        folder: of the run.
        config: the resolved config; empty where it cannot be read.
        metrics: columns of `logs/metrics.csv`, finite values only.
        rewards: their names, in the order of the samples where there are some.
        sample_steps: the files of `samples/` by step.
        notes: what is missing or damaged, a sentence each.
        steps: finished steps.
    """

    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Curve]
    rewards: tuple[str, ...]
    sample_steps: Mapping[int, Path]
    notes: tuple[str, ...]
    steps: int = 0

    def curve(self, metric: str) -> Curve:
        """A metric over the steps; empty where it was never logged."""
        return self.metrics.get(metric, Curve.of({}))

    @property
    def estimator(self) -> str:
        """Its name in the config; `unknown` where that does not say."""
        section = self.config.get("estimator")
        return str(section.get("name", "unknown")) if isinstance(section, dict) else "unknown"

    def weight(self, reward: str) -> float:
        """The reward's weight in the config, 1 where it says nothing."""
        entries = self.config.get("rewards")
        for name, entry in (entries if isinstance(entries, dict) else {}).items():
            if not isinstance(entry, dict) or not (reward == name or reward.startswith(f"{name}/")):
                continue
            weight = entry.get("weight", 1.0)
            if isinstance(weight, dict):
                weight = weight.get(reward, weight.get(reward.removeprefix(f"{name}/"), 1.0))
            if isinstance(weight, int | float):
                return float(weight)
        environment = self.config.get("environment")
        weight = environment.get("weight", 1.0) if isinstance(environment, dict) else 1.0
        weight = weight.get(reward, 1.0) if isinstance(weight, dict) else weight
        return float(weight) if isinstance(weight, int | float) else 1.0

    def bounds(self, step: StepSamples, reward: str) -> tuple[float, float] | None:
        """The reward's bounds as the run had them; of an older run those that its config declares."""
        if reward in step.samples[0].bounds:
            return step.samples[0].bounds[reward]
        entries = self.config.get("rewards")
        entry = entries.get(reward) if isinstance(entries, dict) else None
        pair = entry.get("bounds") if isinstance(entry, dict) else None
        return (float(pair[0]), float(pair[1])) if isinstance(pair, list) and len(pair) == 2 else None

    def samples(self, step: int | None = None) -> StepSamples:
        """The completions of a step, of the last one with samples by default.

        Raises:
            DataError: the run has no samples.
            ConfigError: no samples of this step.
        """
        if not self.sample_steps:
            raise DataError(
                f"{self.folder} has no samples/step-*.jsonl with completions; was it trained with"
                " training.samples_every: 0?"
            )
        step = max(self.sample_steps) if step is None else step
        if step not in self.sample_steps:
            there = ", ".join(map(str, self.sample_steps))
            raise ConfigError(f"{self.folder} has no samples of step {step}; steps with samples: {there}")
        found = read_samples(self.sample_steps[step], step)
        if not found.samples:
            raise DataError(f"{self.sample_steps[step]} holds no samples of morl")
        return found


def read_view(path: Path) -> View:
    """Reads a run folder.

    Raises:
        DataError: it is none: there is neither a config nor a table of metrics nor a sample.
    """
    folder = RunFolder(path)
    notes: list[str] = []
    steps = sample_files(folder.samples)
    if not (folder.config.is_file() or folder.metrics.is_file() or steps):
        raise DataError(f"{path} is no run folder: it has no config.yaml, no logs/metrics.csv and no samples")
    config = _config(folder.config, notes)
    metrics = _metrics(folder.metrics, notes)
    names: list[str] = []
    while steps:
        newest = max(steps)
        last = read_samples(steps[newest], newest)
        if last.faults:
            notes.append(f"{last.faults} lines of {steps[newest].name} cannot be read and are left out.")
        if last.left_out:
            notes.append(f"{steps[newest].name} has more completions than are read; {last.left_out} are left out.")
        if last.samples:
            names = list(last.samples[0].rewards)
            break
        notes.append(f"{steps[newest].name} holds no completions.")
        del steps[newest]
    else:
        notes.append("There are no samples (training.samples_every: 0, or no step was finished): no transcripts.")
    logged = {name for name in map(REWARD_MEAN.reward_in, metrics) if name is not None}
    entries = config.get("rewards")
    order = [name for name in (entries if isinstance(entries, dict) else {}) if name in logged]
    names += [name for name in [*order, *sorted(logged - {*order})] if name not in names]
    if not (path / "model").is_dir():
        notes.append("There is no model/: the run has not ended, or it was stopped.")
    done = max((int(curve.steps[-1]) for curve in metrics.values() if len(curve)), default=0)
    return View(path, config, metrics, tuple(names), steps, tuple(notes), done)


def _config(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        tree = None
    if isinstance(tree, dict):
        return tree
    notes.append("config.yaml is missing or cannot be read: weights are taken to be 1.")
    return {}


def _metrics(path: Path, notes: list[str]) -> dict[str, Curve]:
    if not path.is_file():
        notes.append("logs/metrics.csv is missing: no curves, and no verdict on what changed.")
        return {}
    rows, faults = read_rows(path)
    if faults:
        notes.append(f"{len(faults)} lines of logs/metrics.csv cannot be read and are left out.")
    if not rows:
        notes.append("logs/metrics.csv has no finished step.")
    points: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        for name, value in row.items():
            points[name][int(row["step"])] = value
    return {name: Curve.of(column) for name, column in points.items()}
