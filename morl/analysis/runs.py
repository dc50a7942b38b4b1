"""Runs as a study sees them: what each one is called, and what its folder says."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from attrs import field, frozen

from morl.errors import DataError

Floats = npt.NDArray[np.float64]

_REWARD = re.compile(r"^reward/(?P<name>.+)/mean$")


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


@frozen(eq=False)
class Curve:
    """A metric of one run: its finite values and the finished steps they belong to, in rising order."""

    steps: Floats
    values: Floats

    @classmethod
    def of(cls, points: Mapping[int, float]) -> Curve:
        """Without the points whose value is NaN or infinite: a reward that did not apply, a correlation of constants."""
        kept = sorted((step, value) for step, value in points.items() if math.isfinite(value))
        array = np.array(kept, dtype=np.float64).reshape(-1, 2)
        return cls(array[:, 0], array[:, 1])

    def __len__(self) -> int:
        return len(self.steps)


@frozen(eq=False)
class Run:
    """The content of a run folder.

    Args:
        metrics: columns of `logs/metrics.csv`; a row's step counts as finished, so the first is 1.
        held_out: rewards, `length` and `truncated` on the held-out prompts, from `evaluation.json`.
        rewards: names of the rewards, in the order of the evaluation where there is one.
        config: the resolved config.
        versions: of Python, plugins and libraries, by name.
    """

    label: LabelledRun
    metrics: Mapping[str, Curve]
    held_out: Mapping[str, Curve]
    rewards: tuple[str, ...]
    config: Mapping[str, Any]
    versions: Mapping[str, str]

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
