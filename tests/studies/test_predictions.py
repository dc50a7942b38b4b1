"""The table of predictions and outcomes: its outcomes are those of the committed studies, its cases all there."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "studies" / "predictions"
spec = importlib.util.spec_from_file_location("studies_predictions", FOLDER / "run.py")
assert spec is not None
assert spec.loader is not None
predictions = importlib.util.module_from_spec(spec)
spec.loader.exec_module(predictions)


def test_outcomes_are_those_of_the_committed_studies():
    rows = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))["rows"]
    wanted = [(case, estimator, line) for case in predictions.CASES for estimator, line in case.lines.items()]
    assert len(rows) == len(wanted)
    for row, (case, estimator, line) in zip(rows, wanted, strict=True):
        assert (row["case"], row["estimator"], row["reward"]) == (case.label, estimator, case.reward)
        found = predictions.outcome(case, line)
        assert None not in found.values(), "a study that is not there"
        assert {key: row[key] for key in found} == pytest.approx(found, abs=6e-5)  # they have four decimals


def test_what_the_page_says_of_them():
    """Right in tool calling, wrong in seven of nine cases of mathematics."""
    rows = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))["rows"]
    right = {"tool calling": 0, "math": 0}
    for row in rows:
        rose = "up" if row["first"] > row["before"] else "down"
        right[row["case"].partition(",")[0]] += rose == row["predicted"]
    assert right == {"tool calling": 8, "math": 2}
    assert not [row for row in rows if row["predicted"] == "down" and row["end"] > row["before"]]
