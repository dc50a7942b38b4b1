"""The diagnostics are metrics that training logs, and one number stands for a run."""

from __future__ import annotations

from morl.analysis.collapse import diagnostics, of_run
from morl.analysis.runs import read_run


def test_diagnostics_of_a_run(make_run):
    run = read_run(make_run("gdpo", 0, {"good": [0.0, 0.5, 1.0], "brief": [0.0] * 3}))
    found = {kind.metric: of_run(kind, run) for kind in diagnostics(run.rewards)}
    assert found["advantage/distinct"] == 4
    assert found["advantage/max_abs"] == 3.5, "the largest of 1.5, 2.5 and 3.5"
    assert found["reward/good/dead_groups"] == 0.25
    assert found["reward/brief/advantage_share"] == 0.5


def test_what_was_not_logged_is_absent(make_run):
    run = read_run(make_run("gdpo", 0, {"good": [0.0]}))
    assert of_run(diagnostics(["other"])[-1], run) is None


def test_the_metrics_are_those_of_training(repository):
    listed = (repository / "docs" / "reference" / "metrics.md").read_text()
    for kind in diagnostics(["<reward>"]):
        assert f"`{kind.metric}`" in listed
