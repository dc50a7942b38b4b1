"""What `morl compare` shows: a live table on a terminal, a line per event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from attrs import define, field, frozen
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from morl.compare.folder import Record


@frozen
class AtWork:
    """How far a running cell is.

    Attributes:
        name: of the cell.
        seconds: since it was started.
        done: finished steps.
        steps: of the whole run.
    """

    name: str
    seconds: float
    done: int
    steps: int

    @property
    def share(self) -> float:
        return self.done / self.steps


@define(eq=False)
class Display:
    """Counts of cells, those at work with their steps, time gone and time left.

    Attributes:
        slugs: of all cells of the grid.
        jobs: cells at a time.
        console: where to.
    """

    slugs: Sequence[str]
    jobs: int
    console: Console = field(factory=lambda: Console(stderr=True))
    _began: float = field(factory=time.monotonic, init=False)
    _left: float | None = field(default=None, init=False)
    _live: Live | None = field(default=None, init=False)

    def __enter__(self) -> None:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=2, transient=True)
            self._live.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def tell(self, text: str, style: str = "") -> None:
        """A line that stays."""
        self.console.print(text, style=style, soft_wrap=True, highlight=False, markup=False)

    def update(self, records: Mapping[str, Record], running: Sequence[AtWork], waiting: int) -> None:
        """Redraws the table."""
        own = [records[slug] for slug in self.slugs]
        finished = [record.seconds for record in own if record.state == "finished"]
        self._left = time_left(finished, running, waiting, self.jobs)
        if self._live is not None:
            self._live.update(self._table(len(finished), running, waiting))

    def tell_end(self, name: str, seconds: float, record: Record, log: Path) -> None:
        """How a cell ended, with the last lines of its log if it failed."""
        done = f"{name}: {record.state} after {duration(seconds)}"
        if self._live is None and self._left is not None:
            done += f"; about {duration(self._left)} left"
        self.tell(f"{time.strftime('%H:%M:%S')}  {done}", "red" if record.state == "failed" else "")
        if record.error is not None:
            self.tell("\n".join(f"    {line}" for line in [*record.error.splitlines(), f"log: {log}"]))

    def _table(self, finished: int, running: Sequence[AtWork], waiting: int) -> Group:
        head = Text(f"{finished} of {len(self.slugs)} runs finished, {len(running)} running, {waiting} waiting")
        failed = len(self.slugs) - finished - len(running) - waiting
        if failed:
            head.append(f", {failed} failed", style="bold red")
        left = "" if self._left is None else f", about {duration(self._left)} left"
        head.append(f"   {duration(time.monotonic() - self._began)}{left}", style="dim")
        table = Table.grid(padding=(0, 2))
        for one in running:
            bar = ProgressBar(total=one.steps, completed=one.done, width=20)
            table.add_row(escape(one.name), bar, f"{one.done}/{one.steps}", duration(one.seconds))
        return Group(head, table)


def time_left(finished: Sequence[float], running: Sequence[AtWork], waiting: int, jobs: int) -> float | None:
    """Seconds until all cells have ended, or None while there is nothing to go by.

    Args:
        finished: seconds of the cells that are done.
        running: those at work.
        waiting: how many have not begun.
        jobs: cells at a time.

    >>> time_left([30.0, 50.0], [AtWork("a", seconds=10.0, done=5, steps=10)], waiting=3, jobs=2)
    70.0
    """
    whole = [seconds for seconds in finished if seconds > 0]
    whole = whole or [one.seconds / one.share for one in running if one.done > 0]
    if not whole:
        return None
    return (waiting + sum(1 - one.share for one in running)) * (sum(whole) / len(whole)) / jobs


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(42), duration(150), duration(7300)
    ('42 s', '2 min 30 s', '2 h 1 min')
    """
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
