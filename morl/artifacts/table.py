"""`metrics.csv`: one row for each finished step, in the order of the steps."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from morl.artifacts.files import write_text

Row: TypeAlias = dict[str, float]


def read_rows(path: Path) -> tuple[list[Row], dict[int, str]]:
    """The rows, and what is wrong with those lines that are none, by the number of the line.

    An empty cell is left out.  The tables of older versions are read as they would be written today.
    """
    read: list[tuple[int, Row]] = []
    faults: dict[int, str] = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader((line.replace("\0", "\ufffd") for line in file), restval="?")
        for cells in reader:
            try:
                if None in cells:
                    raise ValueError("more cells than columns")
                step = int(cells["step"])
                read.append((step, {name: _number(cell) for name, cell in cells.items() if cell}))
            except (KeyError, TypeError, ValueError) as error:
                faults[reader.line_num] = repr(error)
    # Older tables count steps from 0, and give evaluations rows of their own.
    old = any(step == 0 for step, _ in read)
    rows: dict[int, Row] = {}
    for step, row in read:
        kept = {name: value for name, value in row.items() if not (old and name.startswith("evaluation/"))}
        if kept.keys() - {"step", "epoch"}:
            rows[step + old] = {**rows.get(step + old, {}), **kept, "step": step + old}
    return [rows[step] for step in sorted(rows)], faults


def _number(cell: str) -> float:
    """As it was written: rows that a resumed run writes again are the same to the letter."""
    return int(cell) if cell.removeprefix("-").isdecimal() else float(cell)


class MetricsFile:
    """Writes the table; a kill at any moment leaves whole rows.

    Rows that are in the file are not kept in memory, which they would fill in a long run.

    Args:
        path: of the file.
        rows: of an earlier part of the run, with which the file begins.
    """

    def __init__(self, path: Path, rows: Sequence[Row] = ()) -> None:
        self._path, self._rows = path, [*rows]
        self._columns: list[str] = []
        self._begun = False

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends the row of a step, or adds to it where the step has one."""
        known = bool(self._rows) and self._rows[-1]["step"] == step
        row = {**(self._rows.pop() if known else {}), **metrics, "step": step}
        self._rows.append(row)
        if known or not self._columns or not row.keys() <= {*self._columns}:
            self.rewrite()
            return
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._text([row]))
            file.flush()
            os.fsync(file.fileno())
        self._rows = [row]

    def rewrite(self) -> None:
        """Writes the whole table anew, at once."""
        written = read_rows(self._path)[0] if self._begun else []
        rows = [*{row["step"]: row for row in (*written, *self._rows)}.values()]
        self._columns = ["step", *sorted({name for row in rows for name in row} - {"step"})]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        head = io.StringIO()
        csv.writer(head, lineterminator="\n").writerow(self._columns)
        write_text(self._path, head.getvalue() + self._text(rows))
        self._begun, self._rows = True, rows[-1:]

    def _text(self, rows: Sequence[Row]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(rows)
        return text.getvalue()
