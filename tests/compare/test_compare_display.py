"""The display: counts that add up, and times that people read."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from morl.compare.display import AtWork, Display, duration, time_left
from morl.compare.folder import Record


def test_time_left_counts_what_waits_and_the_rest_of_what_runs():
    assert time_left([], [], 4, 2) is None
    assert time_left([], [AtWork("a", 5.0, 0, 10)], 4, 2) is None
    assert time_left([], [AtWork("a", 5.0, 1, 10)], 0, 1) == 45.0
    assert time_left([60.0], [AtWork("a", 5.0, 5, 10), AtWork("b", 5.0, 10, 10)], 3, 1) == 210.0
    assert time_left([60.0], [], 4, 4) == 60.0
    assert time_left([0.0], [], 4, 4) is None


def test_durations():
    assert [duration(s) for s in (0.9, 59.9, 60, 3599, 3600, 90000)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "59 min 59 s",
        "1 h 0 min",
        "25 h 0 min",
    ]


def test_a_terminal_sees_counts_and_the_steps_of_what_runs():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    names = {"a": "finished", "b": "failed", "c": "running", "d": "waiting", "e": "failed"}
    records = {slug: Record(slug, 0, state, 10.0) for slug, state in names.items()}
    display = Display(list(names), 2, console)
    with display:
        display.update(records, [AtWork("the line, seed 0", 5.0, 3, 10)], 2)
    shown = Text.from_ansi(console.file.getvalue()).plain
    # `e` failed in an earlier command and waits for its next attempt.
    assert "1 of 5 runs finished, 1 running, 2 waiting, 1 failed" in shown
    assert "the line, seed 0" in shown
    assert "3/10" in shown
    assert "about 13 s left" in shown
