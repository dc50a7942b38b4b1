"""`morl compare`, from the command line to the report."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import evolve
from rich.console import Console

from morl.compare.arguments import Arguments, help_text, read_arguments
from morl.compare.check import CheckedCell, check_cells
from morl.compare.display import Display
from morl.compare.folder import Record, StudyFolder
from morl.compare.grid import Grid, read_arms, read_vary
from morl.compare.run import Runner
from morl.compare.slots import Slots, available_cores, available_gpus, find_slots
from morl.config import merge, read_yaml
from morl.errors import ConfigError
from morl.plugins import Registry

_LIBRARIES = ("torch", "transformers", "lightning")


def main(arguments: list[str]) -> int:
    """Runs what is not done of a study and writes its report.

    Returns:
        0, or 1 if a cell failed; 130 when interrupted.
    """
    if any(argument in ("--help", "-h") for argument in arguments):
        print(help_text(), end="")
        return 0
    asked = read_arguments(arguments)
    if find_spec("matplotlib") is None:
        raise ConfigError("the report needs matplotlib; install it with: pip install 'morl[report]'")
    base = merge(read_yaml(asked.config), asked.overrides)
    folder = StudyFolder(_output(asked, base))
    folder.check()
    base["output"] = str(folder.path)
    arms = read_arms(asked.arms, asked.estimators) or {_estimator(base): {}}
    grid = Grid(arms, read_vary(asked.vary), asked.seeds, asked.seed_also)
    registry = Registry()
    cells = check_cells(base, grid.cells(), registry, folder.cells, load_data=not asked.report_only)
    command = shlex.join(["morl", "compare", *arguments])
    if asked.report_only:
        return _report(folder, cells, _records(folder, cells, registry), command)

    slots = find_slots((cell.config.trainer for cell in cells), asked.jobs, available_cores(), available_gpus())
    with folder.lock():
        records = _records(folder, cells, registry)
        folder.write_grid(_record_of(command, base, grid, slots, registry), cells)
        folder.write_records(records)
        try:
            _run(Runner(folder, records, slots, asked.keep, Display([c.slug for c in cells], len(slots))), cells)
        except KeyboardInterrupt:
            _tell(f"stopped; go on with: {command}\na report of what is finished: {command} --report_only")
            return 130
        return _report(folder, cells, records, command)


def _run(runner: Runner, cells: Sequence[CheckedCell]) -> None:
    todo = [cell for cell in cells if runner.records[cell.slug].state != "finished"]
    done = f", {len(cells) - len(todo)} of them finished before" if len(todo) < len(cells) else ""
    runner.display.tell(f"{len(cells)} cells in {runner.folder.path}{done}; {runner.slots.text}")
    others = set(runner.records) - {cell.slug for cell in cells}
    if others:
        runner.display.tell(f"{len(others)} further cells in it belong to other commands; the report leaves them out")
    if todo:
        runner.run(todo)


def _records(folder: StudyFolder, cells: Sequence[CheckedCell], registry: Registry) -> dict[str, Record]:
    """The record of every cell, as far as it is before anything runs.

    Raises:
        ConfigError: a run was made with another config.
    """
    records = folder.read_records()
    for cell in cells:
        slug, before = cell.slug, records.get(cell.slug)
        record = evolve(before or Record(cell.cell.line, cell.cell.seed), line=cell.cell.line, seed=cell.cell.seed)
        if folder.has_work(slug, before):
            folder.check_unchanged(cell, registry)
        if folder.is_finished(slug, cell.config.training.steps, before):
            records[slug] = evolve(record, state="finished", error=None)
        elif record.state in ("finished", "running"):
            # Its folder was removed, or the command that ran it was killed.
            records[slug] = evolve(record, state="waiting" if record.state == "finished" else "interrupted")
        else:
            records[slug] = record
    return records


def _report(folder: StudyFolder, cells: Sequence[CheckedCell], records: dict[str, Record], command: str) -> int:
    """Writes the report of what is finished and says where it is."""
    from morl.analysis import FailedRun, LabelledRun, write_report

    finished = [cell for cell in cells if records[cell.slug].state == "finished"]
    failed = [cell for cell in cells if records[cell.slug].state == "failed"]
    if finished:
        page = write_report(
            folder.path,
            [
                LabelledRun(c.cell.line, c.cell.seed, folder.run(c.slug).path, dict(c.cell.varied), c.cell.arm)
                for c in finished
            ],
            [FailedRun(c.cell.line, c.cell.seed, records[c.slug].error or "", folder.log(c.slug)) for c in failed],
            title=folder.path.resolve().name,
            command=command,
        )
        _tell(f"report: {page}")
    else:
        _tell("no cell is finished, so there is nothing to report")
    if failed:
        _tell(f"{len(failed)} of {len(cells)} cells failed; see {folder.path / 'logs'}")
    return 1 if failed else 0


def _output(asked: Arguments, base: dict[str, Any]) -> Path:
    output = asked.output or base.get("output")
    if not output:
        raise ConfigError("morl compare needs a folder for the study: --output FOLDER")
    return Path(str(output))


def _estimator(base: dict[str, Any]) -> str:
    """The label of the only arm, where none is named."""
    section = base.get("estimator")
    return str(section.get("name", "gdpo")) if isinstance(section, dict) else "gdpo"


def _record_of(command: str, base: dict[str, Any], grid: Grid, slots: Slots, registry: Registry) -> dict[str, Any]:
    """The content of `grid.yaml`."""
    return {
        "command": command,
        "arms": {label: dict(settings) for label, settings in grid.arms.items()},
        "vary": {key: list(values) for key, values in grid.vary.items()},
        "seeds": list(grid.seeds),
        "seed_also": list(grid.seed_also),
        "ran": slots.text,
        "versions": {
            "python": platform.python_version(),
            **registry.versions(),
            **{name: version(name) for name in _LIBRARIES},
        },
        "config": {key: value for key, value in base.items() if key not in ("seed", "output")},
    }


def _tell(text: str) -> None:
    Console(stderr=True).print(text, soft_wrap=True, highlight=False, markup=False)
