"""Runs the cells that are not done, several at a time, and writes down how each of them fares."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from attrs import define, evolve, field

from morl.compare.arguments import Keep
from morl.compare.check import CheckedCell
from morl.compare.display import AtWork, Display
from morl.compare.folder import Record, StudyFolder, ended, finished_steps, has_checkpoint
from morl.compare.launch import Commands, Forks, Launcher, Process, stop, sweep
from morl.compare.slots import Slots

TICK = 0.2
LOOK = 2.0
"""Seconds between looks at how far the running cells are."""
_LOG_LINES = 12


@define(eq=False)
class Running:
    """A cell at work.

    Attributes:
        cell: of the grid.
        process: that it runs in.
        place: index of its slot.
        log_began: bytes of its log that are older.
        steps: finished, when last looked at.
        began: on the monotonic clock.
    """

    cell: CheckedCell
    process: Process
    place: int
    log_began: int
    steps: int = 0
    began: float = field(factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


@define(eq=False)
class Runner:
    """One call of `morl compare`.

    Attributes:
        folder: of the study.
        records: of all its cells, kept up to date in `cells.json`.
        slots: where cells run.
        keep: what stays of a finished cell.
        display: told of everything that happens.
    """

    folder: StudyFolder
    records: dict[str, Record]
    slots: Slots
    keep: Keep
    display: Display
    _running: list[Running] = field(factory=list)

    def run(self, cells: Sequence[CheckedCell]) -> None:
        """Runs cells to their ends, good or bad; Ctrl-C ends them all, with their checkpoints, and is raised again."""
        waiting, look = list(cells), 0.0
        launcher = self._launcher(cells)
        with _interruptible(), self.display:
            try:
                while waiting or self._running:
                    while len(self._running) < len(self.slots) and (cell := next_cell(waiting, self._starting())):
                        waiting.remove(cell)
                        self._start(cell, launcher)
                    time.sleep(TICK)
                    self._reap()
                    if time.monotonic() >= look:
                        self._look(len(waiting))
                        look = time.monotonic() + LOOK
            finally:
                self._stop()

    def _launcher(self, cells: Sequence[CheckedCell]) -> Launcher:
        if not self.slots.forked:
            return Commands(self.slots.threads)
        return Forks({module for cell in cells for module in cell.modules}, self.slots.threads)

    def _starting(self) -> list[CheckedCell]:
        return [one.cell for one in self._running if one.steps == 0]

    def _start(self, cell: CheckedCell, launcher: Launcher) -> None:
        run, log = self.folder.run(cell.slug), self.folder.log(cell.slug)
        if has_checkpoint(run):
            arguments = ["resume", str(run.path)]
        else:
            shutil.rmtree(run.path, ignore_errors=True)  # `check_replaceable` has looked into it
            arguments = ["train", str(self.folder.config(cell.slug))]
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  morl {' '.join(arguments)}\n")
        log_began = log.stat().st_size
        place = min(set(range(len(self.slots))) - {running.place for running in self._running})
        process = launcher.start(arguments, log, self.slots.environments[place])
        self._running.append(Running(cell, process, place, log_began))
        self._write(cell.slug, evolve(self.records[cell.slug], state="running", error=None))

    def _reap(self) -> None:
        for running in list(self._running):
            code = running.process.exit_code()
            if code is None:
                continue
            sweep(running.process)
            self._running.remove(running)
            slug, record = running.cell.slug, self.records[running.cell.slug]
            if code == 0:
                self._write(slug, ended(record, "finished", running.seconds))
                self.folder.tidy(slug, self.keep)
            else:
                log = self.folder.log(slug)
                self._write(slug, ended(record, "failed", running.seconds, _error(code, log, running.log_began)))
            self.display.tell_end(str(running.cell.cell), running.seconds, self.records[slug], self.folder.log(slug))

    def _stop(self) -> None:
        """Ends what still runs when something ends this command."""
        if self._running:
            self.display.tell(f"stopping {len(self._running)} runs; once more to kill them")
        try:
            stop([running.process for running in self._running])
        finally:
            for running in self._running:
                # One that had finished meanwhile is known by its model.
                self.records[running.cell.slug] = ended(self.records[running.cell.slug], "interrupted", running.seconds)
            self.folder.write_records(self.records)
            self._running.clear()

    def _look(self, waiting: int) -> None:
        for one in self._running:
            one.steps = finished_steps(self.folder.run(one.cell.slug))
        at_work = [
            AtWork(str(one.cell.cell), one.seconds, one.steps, one.cell.config.training.length) for one in self._running
        ]
        self.display.update(self.records, at_work, waiting)

    def _write(self, slug: str, record: Record) -> None:
        self.records[slug] = record
        self.folder.write_records(self.records)


def next_cell(waiting: Sequence[CheckedCell], starting: Sequence[CheckedCell]) -> CheckedCell | None:
    """The first cell that need not wait for its policy.

    A source that makes its policy, and keeps it for the next cell, should not make it twice at the same time.

    Args:
        waiting: cells, in their order.
        starting: running cells without a finished step, which may be making theirs.
    """
    in_making = [cell.config.policy for cell in starting if cell.config.policy.name != "pretrained"]
    return next((cell for cell in waiting if cell.config.policy not in in_making), None)


def _error(code: int, log: Path, start: int) -> str:
    """How a cell ended, and the last that it printed."""
    with log.open("rb") as file:
        file.seek(start)
        lines = [line.rstrip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    how = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
    return "\n".join([how, *lines[-_LOG_LINES:]])


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within it the signals of a batch system and of a closed terminal do what Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # One that is ignored, as by nohup, stays so.
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
