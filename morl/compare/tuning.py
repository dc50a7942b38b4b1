"""The end of a tuning grid: `tuned.yaml`, each arm with the values that ended highest.

The seeds and prompts of the grid stand in it, too; `morl.compare.tuned` keeps them out of a study of these arms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from morl.analysis.plan import PRIMARY
from morl.analysis.results import Line, Results
from morl.artifacts.files import write_text
from morl.compare.check import CheckedCell
from morl.compare.grid import Cell, Grid
from morl.errors import ConfigError

_HEAD = """\
# Each arm with the settings that ended highest in a tuning grid.  `morl compare --tuned` takes it, and refuses the
# seeds and prompts below.
"""


def choice_metric(rewards: Sequence[str], primary: bool) -> str:
    """The metric that decides which settings are best.

    Raises:
        ConfigError: several rewards and no primary metric.
    """
    if primary:
        return PRIMARY
    if len(rewards) > 1:
        raise ConfigError(
            "--tune needs one metric to choose by, and there are several rewards; give --primary REWARD:LOW:HIGH,..."
        )
    return rewards[0]


def tuned_label(grid: Grid, cell: Cell) -> str:
    """What an arm is called in `tuned.yaml`: its label, and what was varied without being tuned."""
    kept = {key: value for key, value in cell.varied.items() if key not in grid.tune}
    return ", ".join([cell.arm, *(f"{key}={value}" for key, value in kept.items())])


def write_tuned(path: Path, grid: Grid, cells: Sequence[CheckedCell], results: Results, metric: str) -> list[str]:
    """Writes each arm with its best settings: the highest mean of the final values over all seeds of the grid.

    Args:
        path: of the file.
        grid: the tuning grid.
        cells: all of its cells, finished.
        results: of the study.
        metric: to choose by.

    Returns:
        What `at_an_end` says of the choice.
    """
    lines = {line.name: line for line in results.lines}
    arms: dict[str, dict[str, Any]] = {}
    for cell in cells:
        own, label = cell.cell, tuned_label(grid, cell.cell)
        mean = _mean(lines[own.line], metric)
        if label not in arms or mean > arms[label]["mean"]:
            settings = {**grid.arms[own.arm], **own.varied}
            arms[label] = {"settings": settings, "mean": mean, "of": own.line}
    content = {
        "command": results.command,
        "metric": f"{metric}, mean over seeds of the final value",
        "arms": arms,
        "seeds": list(grid.seeds),
        "prompts": sorted(frozenset[str]().union(*(cell.prompts for cell in cells))),
    }
    write_text(path, _HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return at_an_end({key: grid.vary[key] for key in grid.tune}, {name: arm["settings"] for name, arm in arms.items()})


def at_an_end(tried: Mapping[str, Sequence[Any]], chosen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences about arms whose best value is the smallest or largest that was tried: a further one may be better.

    Args:
        tried: setting -> its values; nothing is said of those that are no numbers, or two: a choice, not a scale.
        chosen: arm -> settings.
    """
    said = []
    for key, values in tried.items():
        if len(set(values)) < 3 or not all(type(value) in (int, float) for value in values):
            continue
        for end, word in ((min(values), "smallest"), (max(values), "largest")):
            arms = [name for name, settings in chosen.items() if settings[key] == end]
            if arms:
                count = "every arm" if len(arms) == len(chosen) else ", ".join(arms)
                beyond = "smaller" if word == "smallest" else "larger"
                said.append(
                    f"{key}: the best value of {count} is the {word} that was tried, {end:g}; a {beyond} one may be"
                    " better still"
                )
    return said


def _mean(line: Line, metric: str) -> float:
    values = line.scores["final"][metric].by_seed.values()
    return sum(values) / len(values)
