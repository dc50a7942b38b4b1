"""One call of `morl compare`: checks the cells, runs those that are not done, reports."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from attrs import evolve, frozen
from rich.console import Console

from morl.analysis import FailedRun, LabelledRun, require_matplotlib, write_report
from morl.analysis.plan import PRIMARY, Place, Plan, check_primary, read_contrasts, read_primary
from morl.analysis.report import RESULTS
from morl.analysis.results import Failure, Results
from morl.compare.arguments import Arguments, Keep
from morl.compare.check import CheckedCell, check_cells
from morl.compare.declared import declarations, declared_in_time, remember
from morl.compare.display import Display
from morl.compare.folder import Record, StudyFolder, has_checkpoint
from morl.compare.grid import Cell, Grid
from morl.compare.run import Runner
from morl.compare.slots import Slots, available_cores, available_gpus, find_slots
from morl.compare.tuned import Tuned
from morl.compare.tuning import choice_metric, write_tuned
from morl.plugins import Registry

_LIBRARIES = ("torch", "transformers", "lightning")


@frozen(eq=False)
class Study:
    """What is compared, and where.

    Attributes:
        folder: of the study.
        base: the config that all cells share.
        grid: what was asked for.
        cells: of the grid, with the config of each.
        registry: of the parts.
        command: what was typed.
        plan: what the study declares.
        metric: by which a tuning grid chooses; None where nothing is tuned.
    """

    folder: StudyFolder
    base: Mapping[str, Any]
    grid: Grid
    cells: Sequence[CheckedCell]
    registry: Registry
    command: str
    plan: Plan
    metric: str | None = None

    @classmethod
    def of(
        cls,
        base: Mapping[str, Any],
        grid: Grid,
        cells: Sequence[Cell],
        asked: Arguments,
        tuned: Tuned | None = None,
        *,
        command: str,
    ) -> Study:
        """The study in the folder `base["output"]`.

        Args:
            base: the config that all cells share.
            grid: what was asked for.
            cells: of the grid.
            asked: the rest of what was asked for.
            tuned: where the arms come from, if from a tuning grid.
            command: what was typed.

        Raises:
            MorlError: a cell that cannot be run, a folder that holds something else, no matplotlib for the report,
                contrasts of what is not there, or prompts that the arms were tuned on.
        """
        require_matplotlib()
        folder, registry = StudyFolder(base["output"]), Registry.for_config(base)
        folder.check()
        checked = check_cells(base, cells, registry, folder.cells, bool(grid.tune or tuned))
        rewards = list(dict.fromkeys(name for cell in checked for name in cell.rewards))
        primary = read_primary(asked.primary)
        check_primary(primary, rewards)
        metrics = [*([PRIMARY] if primary else []), *rewards]
        places = list({cell.line: Place(cell.line, cell.arm, cell.varied) for cell in cells}.values())
        plan = Plan(read_contrasts(asked.declare, places, metrics), asked.equivalence, primary)
        metric = choice_metric(rewards, bool(primary)) if grid.tune else None
        if tuned is not None:
            for one in checked:
                tuned.check_prompts(one.cell, one.prompts)
        return cls(folder, base, grid, checked, registry, command, plan, metric)

    def run(self, jobs: int | None, keep: Keep) -> int:
        """Runs what is not done, then reports.

        Returns:
            0, or 1 if a cell failed; 130 when interrupted.

        Raises:
            MorlError: there is no room for a cell, another command is at work, or a cell was run with other settings.
        """
        slots = find_slots((cell.config.trainer for cell in self.cells), jobs, available_cores(), available_gpus())
        with self.folder.lock():
            records = self._records()
            plan, made = self._declared(records)
            todo = [cell for cell in self.cells if records[cell.slug].state != "finished"]
            for cell in todo:
                if not has_checkpoint(self.folder.run(cell.slug)):
                    self.folder.check_replaceable(cell.slug)
            self.folder.write_grid(self._asked(slots), self.cells)
            self.folder.write_records(records)
            remember(self.folder, made)
            display = Display([cell.slug for cell in self.cells], len(slots))
            self._announce(display, records, len(self.cells) - len(todo), slots)
            try:
                if todo:
                    Runner(self.folder, records, slots, keep, display).run(todo)
            except KeyboardInterrupt:
                display.tell(f"stopped; the same command resumes the study:\n  {self.command}")
                display.tell(f"the report of what is finished:\n  {self.command} --report_only")
                return 130
            return self._report(records, plan)

    def report(self) -> int:
        """Reports on what is finished, also while another command is at work.

        Returns:
            0, or 1 if a cell failed.
        """
        records = self._records()
        return self._report(records, self._declared(records)[0])

    def _declared(self, records: Mapping[str, Record]) -> tuple[Plan, dict[str, int]]:
        """The plan, with what was declared too late, and what is to be remembered of it."""
        finished = sum(records[cell.slug].state == "finished" for cell in self.cells)
        return declared_in_time(self.folder, self.plan, finished)

    def _records(self) -> dict[str, Record]:
        """The record of every cell, as it is before anything runs.

        Raises:
            ConfigError: a run was made with another config.
        """
        records = self.folder.read_records()
        for cell in self.cells:
            before = records.get(cell.slug)
            record = before or Record(cell.cell.line, cell.cell.seed)
            if self.folder.has_work(cell.slug, before):
                self.folder.check_unchanged(cell, self.registry)
            if self.folder.is_finished(cell.slug, cell.config.training.length, before):
                record = evolve(record, state="finished", error=None)
            elif record.state == "finished":
                record = Record(cell.cell.line, cell.cell.seed)  # its folder was removed
            records[cell.slug] = record
        return records

    def _announce(self, display: Display, records: Mapping[str, Record], done: int, slots: Slots) -> None:
        before = f", {done} of them finished before" if done else ""
        display.tell(f"{len(self.cells)} runs in {self.folder.path}{before}; {slots.text}")
        others = len(set(records) - {cell.slug for cell in self.cells})
        if others:
            display.tell(f"{others} further runs there are not part of this command; the report leaves them out")

    def _report(self, records: Mapping[str, Record], plan: Plan) -> int:
        console = Console(stderr=True)
        finished, failed = (
            [cell for cell in self.cells if records[cell.slug].state == state] for state in ("finished", "failed")
        )
        damaged: list[Failure] = []
        if finished:
            page = write_report(
                self.folder.path,
                [_finished(cell, self.folder) for cell in finished],
                [_failed(cell, self.folder, records[cell.slug]) for cell in failed],
                title=self.folder.path.resolve().name,
                command=self.command,
                plan=plan,
            )
            results = Results.load(self.folder.path / RESULTS)
            damaged = [*results.failures[len(failed) :]]
            rest = len(self.cells) - len(finished) - len(failed)
            part = f", of {len(finished)} of {len(self.cells)} runs" if rest else ""
            console.print(f"report: {page}{part}", soft_wrap=True, highlight=False, markup=False)
        else:
            console.print("no run is finished, so there is nothing to report")
        if self.metric is not None and len(finished) == len(self.cells) and not damaged:
            ends = write_tuned(self.folder.tuned, self.grid, self.cells, results, self.metric)
            for text in (*ends, f"tuned arms: {self.folder.tuned}"):
                console.print(text, soft_wrap=True, highlight=False, markup=False)
        if failed:
            text = f"{len(failed)} of {len(self.cells)} runs failed; their output is in {self.folder.path / 'logs'}"
            console.print(text, style="red", soft_wrap=True, highlight=False, markup=False)
        for one in damaged:
            text = f"{one.line}, seed {one.seed}: {one.error}; remove the folder, and the same command runs it again"
            console.print(text, style="red", soft_wrap=True, highlight=False, markup=False)
        return 1 if failed or damaged else 0

    def _asked(self, slots: Slots) -> dict[str, Any]:
        """The content of `grid.yaml`."""
        return {
            "command": self.command,
            "arms": {label: dict(settings) for label, settings in self.grid.arms.items()},
            "vary": {key: list(values) for key, values in self.grid.vary.items()},
            "tune": list(self.grid.tune),
            "declared": declarations(self.plan),
            "seeds": list(self.grid.seeds),
            "seed_also": list(self.grid.seed_also),
            "ran": slots.text,
            "versions": {
                "python": platform.python_version(),
                **self.registry.versions(),
                **{name: version(name) for name in _LIBRARIES},
            },
            "config": {key: value for key, value in self.base.items() if key not in ("seed", "output")},
        }


def _finished(cell: CheckedCell, folder: StudyFolder) -> LabelledRun:
    own = cell.cell
    return LabelledRun(own.line, own.seed, folder.run(cell.slug).path, dict(own.varied), own.arm)


def _failed(cell: CheckedCell, folder: StudyFolder, record: Record) -> FailedRun:
    return FailedRun(cell.cell.line, cell.cell.seed, record.error or "", folder.log(cell.slug))
