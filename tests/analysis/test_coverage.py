"""Means over different completions are not compared, and a mean over a part of them says so."""

from __future__ import annotations

import json

import pytest

from morl.analysis.coverage import OTHER_COMPLETIONS
from morl.analysis.results import Results
from morl.analysis.runs import read_run
from morl.analysis.summary import summarise
from morl.analysis.tables import scores_table


@pytest.fixture
def judged(make_run):
    """`judged(line, seed, value, share, fingerprint)`: a run whose last evaluation has no score of some completions."""

    def make(line, seed, value, share=1.0, fingerprint=None):
        made = make_run(line, seed, {"judge": [0.5, 0.5]}, {2: {"judge": value, "judge/scored": share}})
        path = made.folder / "evaluation.json"
        (entry,) = json.loads(path.read_text())
        entry["scored"] = {} if fingerprint is None else {"judge": fingerprint}
        path.write_text(json.dumps([entry]))
        return made

    return make


def study(*labels) -> Results:
    return summarise([read_run(label) for label in labels], (), "a study", "make study")


def final(results: Results):
    return next(found for found in results.comparisons if found.measure == "final")


def test_runs_scored_on_other_completions_are_no_pair(judged):
    results = study(judged("a", 0, 0.5, 0.75, "x"), judged("b", 0, 1.0, 0.75, "y"))
    assert (final(results).verdict, final(results).difference.n) == (OTHER_COMPLETIONS, 0)
    one_complete = study(judged("a", 0, 0.5), judged("b", 0, 1.0, 0.75, "y"))
    assert final(one_complete).verdict == OTHER_COMPLETIONS


def test_runs_scored_on_the_same_completions_are_compared(judged):
    for share, fingerprint in ((0.75, "x"), (1.0, None)):
        results = study(judged("a", 0, 0.5, share, fingerprint), judged("b", 0, 1.0, share, fingerprint))
        assert final(results).difference.mean == 0.5


def test_pairs_that_can_be_compared_remain(judged):
    results = study(
        *(judged("a", seed, 0.5) for seed in range(3)),
        *(judged("b", seed, 1.0, *((0.5, "y") if seed == 1 else ())) for seed in range(3)),
    )
    assert (final(results).difference.n, final(results).difference.mean) == (2, 0.5)
    assert f"seeds 1 {OTHER_COMPLETIONS}" in final(results).verdict


def test_tables_say_how_much_is_covered(judged):
    results = study(judged("a", 0, 0.5, 0.7, "x"), judged("a", 1, 0.5, 0.8, "z"), judged("b", 0, 1.0))
    assert results.lines[0].coverage["final"] == {"judge": pytest.approx(0.75)}
    rows = scores_table(results, "final").rows
    assert [row[2] for row in rows] == ["0.5 [0.5, 0.5] (75% scored)", "1"]
    again = json.loads(results.to_json())
    assert again["lines"][0]["coverage"]["final"] == {"judge": 0.75}
    assert again["lines"][1]["coverage"]["final"] == {}


def test_of_training_batches_the_shares_tell(make_run):
    def run(line, missing):
        made = make_run(line, 0, {"judge": [0.5, 0.5]})
        path = made.folder / "logs" / "metrics.csv"
        header, *rows = path.read_text().splitlines()
        cells = ["" for _ in rows[len(missing) :]] + [str(share) for share in missing]
        lines = [f"{row},{cell}" for row, cell in zip(rows, cells, strict=True)]
        path.write_text("\n".join([f"{header},reward/judge/missing", *lines]) + "\n")
        return made

    assert final(study(run("a", (0, 0)), run("b", (0, 0)))).difference.n == 1
    assert final(study(run("a", (0.5, 0.25)), run("b", (0.5, 0.25)))).difference.n == 1, "as where rows decide"
    assert final(study(run("a", (0.5, 0.25)), run("b", (0.5, 0.5)))).verdict == OTHER_COMPLETIONS
