"""The report of a study: one self-contained HTML file, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from morl.analysis.runs import FailedRun, LabelledRun


def write_report(
    folder: Path, runs: Sequence[LabelledRun], failed: Sequence[FailedRun] = (), *, title: str, command: str
) -> Path:
    """Writes `report.html` and `results.json` into a folder; returns the path of the page.

    Args:
        folder: made if need be; earlier reports in it are overwritten.
        runs: the finished runs of the study.
        failed: those that are to be reported as failed.
        title: heading of the page.
        command: what somebody types to make the study again.
    """
    raise NotImplementedError
