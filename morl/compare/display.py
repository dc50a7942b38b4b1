"""What `morl compare` shows: a live table on a terminal, a line per event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from attrs import define, field
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from morl.compare.folder import Record

if TYPE_CHECKING:
    from morl.compare.run import Running

REFRESH = 1.0


@define(eq=False)
class Display:
    """Counts of cells, those at work with their steps, time gone and time left.

    Attributes:
        total: cells of the grid.
        slugs: of those cells.
        jobs: cells at a time.
    """

    slugs: Sequence[str]
    jobs: int
    console: Console = field(factory=lambda: Console(stderr=True))
    _began: float = field(factory=time.monotonic, init=False)
    _shown: float = field(default=0.0, init=False)
    _left: float | None = field(default=None, init=False)
    _ends: int = field(default=0, init=False)
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

    def update(
        self, records: Mapping[str, Record], running: Sequence[tuple[Running, tuple[int, int]]], waiting: int
    ) -> None:
        """Redraws the table, at most once in a second."""
        now = time.monotonic()
        if now - self._shown < REFRESH:
            return
        self._shown = now
        own = [records[slug] for slug in self.slugs]
        finished = [record.seconds for record in own if record.state == "finished"]
        self._left = time_left(finished, [(one.seconds, *steps) for one, steps in running], waiting, self.jobs)
        if self._live is not None:
            self._live.update(self._table(len(finished), running, waiting))

    def tell_end(self, running: Running, record: Record, log: Path) -> None:
        """How a cell ended, with the last lines of its log if it failed."""
        self._ends += 1
        done = f"{running.cell.cell}: {record.state} after {duration(running.seconds)}"
        if self._live is None and self._left is not None:
            done += f"; about {duration(self._left)} left"
        self.tell(f"{time.strftime('%H:%M:%S')}  {done}", "red" if record.state == "failed" else "")
        if record.error is not None:
            self.tell("\n".join(f"    {line}" for line in [*record.error.splitlines(), f"log: {log}"]))

    def _table(self, finished: int, running: Sequence[tuple[Running, tuple[int, int]]], waiting: int) -> Group:
        head = Text(f"{finished} of {len(self.slugs)} cells finished, {len(running)} running, {waiting} waiting")
        failed = len(self.slugs) - finished - len(running) - waiting
        if failed:
            head.append(f", {failed} failed", style="bold red")
        left = "" if self._left is None else f", about {duration(self._left)} left"
        head.append(f"   {duration(time.monotonic() - self._began)}{left}", style="dim")
        table = Table.grid(padding=(0, 2))
        for one, (done, steps) in running:
            bar = ProgressBar(total=steps, completed=done, width=20)
            table.add_row(escape(str(one.cell.cell)), bar, f"{done}/{steps}", duration(one.seconds))
        return Group(head, table)


def time_left(
    finished: Sequence[float], running: Sequence[tuple[float, int, int]], waiting: int, jobs: int
) -> float | None:
    """Seconds until all cells have ended, or None while there is nothing to go by.

    Args:
        finished: seconds of the cells that are done.
        running: seconds, finished steps and all steps of those at work.
        waiting: cells that have not begun.
        jobs: cells at a time.

    >>> time_left([30.0, 50.0], [(10.0, 5, 10)], 3, 2)
    70.0
    """
    shares = [(seconds, done / steps) for seconds, done, steps in running]
    whole = [seconds for seconds in finished if seconds > 0]
    whole = whole or [seconds / share for seconds, share in shares if share > 0]
    if not whole:
        return None
    return (waiting + sum(1 - share for _, share in shares)) * (sum(whole) / len(whole)) / jobs


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
