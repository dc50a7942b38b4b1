"""The table of metrics on the disk, compared with all its rows in memory."""

from __future__ import annotations

import csv
import math
import random

import pytest

from morl.artifacts.table import MetricsFile, read_rows


def plain(rows):
    """The table as csv writes it at once."""
    columns = ["step", *sorted({name for row in rows for name in row} - {"step"})]
    return [columns, *([str(row.get(name, "")) for name in columns] for row in rows)]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_written_the_table_is_that_of_all_rows(tmp_path, seed):
    draws, path = random.Random(seed), tmp_path / "logs" / "metrics.csv"
    rows = [{"step": step, "loss": step / 3} for step in range(1, draws.randint(1, 4))]  # of an earlier part of the run
    table = MetricsFile(path, rows)
    table.rewrite()
    rows = [dict(row) for row in rows]
    step = len(rows)
    for _ in range(30):
        step += draws.random() < 0.7 or not rows
        names = draws.sample(["loss", "lr", "a/b", "c", "d~e"], draws.randint(1, 3))
        values = (draws.gauss(0, 1) ** 9, draws.randint(-9, 9), math.nan, math.inf, 1e-300, -0.0)
        row = {name: draws.choice(values) for name in names}
        table.write(step, row)
        if rows and rows[-1]["step"] == step:
            rows[-1].update(row)
        else:
            rows.append({**row, "step": step})
        with path.open(newline="") as file:
            assert list(csv.reader(file)) == plain(rows)
    assert read_rows(path)[1] == {}
    assert len(table._rows) <= 1, "what is in the file is not kept in memory"


def test_a_row_that_was_torn_is_whole_when_the_table_is_written_anew(tmp_path):
    path = tmp_path / "metrics.csv"
    table = MetricsFile(path)
    table.write(1, {"loss": 0.5, "lr": 0.25})
    table.write(2, {"loss": 0.125, "lr": 0.25})
    path.write_text(path.read_text()[:-5])  # a disk that was full
    table.write(2, {"more": 1.0})
    assert path.read_text() == "step,loss,lr,more\n1,0.5,0.25,\n2,0.125,0.25,1.0\n"
