"""Reading run folders."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from morl.analysis import LabelledRun
from morl.analysis.runs import Curve, read_run
from morl.errors import DataError


def test_a_run_is_read_with_its_gaps(make_run):
    made = make_run(
        "gdpo", 3, {"good": [0.5, math.nan, 1.0], "brief": [0.0, 0.25, 0.5]}, {0: {"brief": 0.1, "good": 0.2}}
    )
    run = read_run(made)
    assert (run.line, run.seed, run.steps) == ("gdpo", 3, 3)
    assert run.rewards == ("brief", "good"), "the order of the evaluation, which is that of the config"
    good = run.metrics["reward/good/mean"]
    assert good.steps.tolist() == [1, 3], "a step counts as finished, and NaN is no value"
    assert good.values.tolist() == [0.5, 1.0]
    assert run.held_out["good"].steps.tolist() == [0]
    assert run.config["optimizer"] == {"lr": 1e-6}
    assert run.versions == {"python": "3.11.7", "morl-llm": "0.2.0", "torch": "2.13.0"}


def test_a_run_without_evaluation_and_versions(make_run):
    made = make_run("gdpo", 0, {"good": [0.5]})
    (made.folder / "environment.json").unlink()
    run = read_run(made)
    assert run.held_out == {}
    assert run.versions == {}


def test_a_missing_held_out_score_is_a_gap(make_run):
    run = read_run(make_run("gdpo", 0, {"good": [0.5]}, {0: {"good": None}, 5: {"good": 1.0}}))
    assert run.held_out["good"].steps.tolist() == [5]


def test_of_two_rows_of_a_step_the_later_counts(make_run):
    made = make_run("gdpo", 0, {"good": [0.5, 0.5]})
    table = made.folder / "logs" / "metrics.csv"
    columns = table.read_text().splitlines()[0].split(",")
    resumed = ",".join({"step": "2", "reward/good/mean": "0.75"}.get(name, "") for name in columns)
    table.write_text(table.read_text() + resumed + "\n")
    assert read_run(made).metrics["reward/good/mean"].values.tolist() == [0.5, 0.75]


@pytest.mark.parametrize("name", ["logs/metrics.csv", "config.yaml"])
def test_a_folder_without_its_files_is_named(make_run, name: str):
    made = make_run("gdpo", 0, {"good": [0.5]})
    (made.folder / name).unlink()
    with pytest.raises(DataError, match=rf"{Path(name).name} is missing: .*report this run as failed"):
        read_run(made)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("logs/metrics.csv", "step,reward/good/mean\n0,often\n", r"metrics.csv, line 2, is not a row of metrics"),
        ("logs/metrics.csv", "loss\n0.5\n", r"metrics.csv, line 2, is not a row of metrics: KeyError\('step'\)"),
        ("logs/metrics.csv", "step,loss\n0,0.5\n", r"has no column reward/<reward>/mean: no step was finished"),
        ("evaluation.json", "[1]", r"evaluation.json, evaluation 0: expected a mapping"),
        ("evaluation.json", "{", r"evaluation.json is not JSON"),
        ("environment.json", "[1]", r"environment.json does not hold versions"),
        ("config.yaml", "[1]\n", r"config.yaml is not a config: expected a mapping, got list"),
        ("config.yaml", "{\n", r"config.yaml is not a config: "),
    ],
)
def test_files_of_another_kind_are_named(make_run, name: str, content: str, message: str):
    made = make_run("gdpo", 0, {"good": [0.5]}, {0: {"good": 0.5}})
    (made.folder / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_run(made)


def test_a_curve_is_in_order_and_finite():
    curve = Curve.of({5: 1.0, 2: math.inf, 1: 0.5, 3: math.nan})
    np.testing.assert_array_equal(curve.steps, [1, 5])
    np.testing.assert_array_equal(curve.values, [0.5, 1.0])
    assert len(Curve.of({})) == 0


def test_labels_take_paths_as_text(tmp_path: Path):
    assert LabelledRun("gdpo", 0, str(tmp_path)).folder == tmp_path  # type: ignore[arg-type]
