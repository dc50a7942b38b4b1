"""From runs to the numbers of a study."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from morl.analysis import FailedRun
from morl.analysis.results import Band, Results
from morl.analysis.runs import Curve, read_run
from morl.analysis.statistics import Spread
from morl.analysis.summary import band, summarise
from morl.artifacts.history import Change, write_history
from morl.errors import ConfigError, DataError


def study(labels, failed=()) -> Results:
    return summarise([read_run(label) for label in labels], failed, "a study", "make study")


def line_of(results: Results, name: str):
    return next(line for line in results.lines if line.name == name)


def warned(results: Results, part: str) -> bool:
    return any(part in warning for warning in results.warnings)


@pytest.fixture
def two_lines(make_run):
    """Two lines of three seeds; on the held-out prompts the second is above the first by 0.25, 0.5 and 0.75."""
    first, second = {0: 0.0, 1: 0.25, 2: 0.25}, {0: 0.25, 1: 0.75, 2: 1.0}
    return [
        make_run(line, seed, {"good": [0.0, 0.5, 1.0]}, {0: {"good": 0.0}, 3: {"good": value}})
        for line, finals in (("grpo", first), ("gdpo", second))
        for seed, value in finals.items()
    ]


def test_finals_areas_and_their_differences_by_hand(two_lines):
    results = study(two_lines)
    assert results.sources == {"final": "held-out", "auc": "training"}, "two evaluations make no curve"
    gdpo = line_of(results, "gdpo")
    assert gdpo.scores["final"]["good"].by_seed == {0: 0.25, 1: 0.75, 2: 1.0}
    assert gdpo.scores["final"]["good"].spread == Spread(0.75, 0.5, 0.875, 3)
    assert gdpo.scores["auc"]["good"].spread.median == 0.5
    final, area = results.comparisons
    assert (final.measure, final.reward, final.first, final.second) == ("final", "good", "grpo", "gdpo")
    assert (final.difference.n, final.difference.mean, final.difference.p) == (3, 0.5, 0.25)
    assert final.verdict == area.verdict == "no verdict: 3 pairs are too few"
    assert results.best == ("gdpo",)
    assert results.warnings == ()


def test_a_reward_that_is_never_scored_on_held_out_prompts_does_not_take_the_others_off_them(make_run):
    """As the divergence from a reference, which held-out prompts are not asked about."""
    results = study(
        [
            make_run(line, 0, {"good": [0.0, 0.5], "kl": [0.0, -1.0]}, {2: {"good": value, "kl": float("nan")}})
            for line, value in (("grpo", 0.25), ("gdpo", 0.75))
        ]
    )
    assert results.sources["final"] == "held-out"
    assert {line.name: line.scores["final"]["good"].by_seed for line in results.lines} == {
        "grpo": {0: 0.25},
        "gdpo": {0: 0.75},
    }
    assert all("kl" not in line.scores["final"] for line in results.lines)
    assert warned(results, "No run has a score of 'kl' on held-out prompts")
    assert results.best == ("gdpo",)


def test_three_evaluations_make_a_curve(make_run):
    held_out = {0: {"good": 0.0}, 1: {"good": 1.0}, 2: {"good": 0.0}}
    results = study([make_run("gdpo", 0, {"good": [0.0, 0.0]}, held_out)])
    assert results.sources["auc"] == "held-out"
    assert results.lines[0].scores["auc"]["good"].by_seed == {0: 0.5}


def test_without_evaluation_the_end_is_the_last_tenth_of_the_training(make_run):
    results = study([make_run("gdpo", 0, {"good": [0.0] * 18 + [0.5, 1.0]})])
    assert results.sources["final"] == "training"
    assert results.lines[0].scores["final"]["good"].by_seed == {0: 0.75}
    assert warned(results, "the final values are of the training batches")


def test_one_run_without_evaluation_makes_all_finals_those_of_training(make_run):
    results = study([make_run("grpo", 0, {"good": [0.5]}, {1: {"good": 1.0}}), make_run("gdpo", 0, {"good": [0.25]})])
    assert [line.scores["final"]["good"].by_seed for line in results.lines] == [{0: 0.5}, {0: 0.25}]


def test_seeds_of_one_line_only_are_left_out(make_run):
    results = study(
        [make_run(line, seed, {"good": [seed]}) for line, seeds in (("a", (0, 1)), ("b", (1, 2))) for seed in seeds]
    )
    assert {found.difference.n for found in results.comparisons} == {1}
    assert warned(results, "Seeds that only one of a and b has are left out of their differences: 0, 2.")


def test_a_reward_that_a_line_lacks(make_run):
    results = study([make_run("two", 0, {"good": [0.5], "brief": [1.0]}), make_run("one", 0, {"good": [0.5]})])
    assert set(results.rewards) == {"good", "brief"}
    assert {found.reward for found in results.comparisons} == {"good"}
    assert "brief" not in line_of(results, "one").scores["final"]
    assert results.best == ("two",), "only a line with every reward can be compared in all"
    assert warned(results, "There is no reward 'brief' in: one.")


def test_a_reward_that_is_never_defined(make_run):
    results = study([make_run("gdpo", 0, {"good": [0.5, 0.5], "brief": [float("nan")] * 2})])
    assert set(results.lines[0].scores["final"]) == {"good"}
    assert results.best == ()


def test_different_numbers_of_steps_are_told(make_run):
    results = study([make_run("short", 0, {"good": [0.5] * 5}), make_run("long", 0, {"good": [0.5] * 10})])
    assert warned(
        results, "different numbers of steps, so that their ends and areas differ by that too: short 5; long 10."
    )


def test_different_versions_are_told(make_run):
    labels = [make_run("gdpo", seed, {"good": [0.5]}) for seed in (0, 1)]
    environment = labels[1].folder / "environment.json"
    environment.write_text(environment.read_text().replace("2.13.0", "2.14.0"))
    assert warned(study(labels), "different versions of torch: 2.13.0, 2.14.0.")


def test_what_was_changed_when_a_run_was_resumed_is_told(make_run):
    label = make_run("gdpo", 3, {"good": [0.5] * 5})
    begun = Change(0, {}, {"data.jsonl": "sha256 1"})
    resumed = Change(2, {"optimizer.schedule": ["constant", "linear"]}, {"data.jsonl": "sha256 2"})
    write_history(label.folder / "config.history", [begun, resumed])
    assert warned(
        study([label]),
        "gdpo, seed 3, was resumed from step 2 on with optimizer.schedule linear in place of constant, another content"
        " of data.jsonl.",
    )


def test_runs_that_are_no_pair_are_told(make_run):
    results = study([make_run("a", 0, {"good": [0.5]}), make_run("b", 0, {"good": [0.5]}, policy={"seed": 4})])
    assert warned(results, "a and b are no pairs: policy.seed differs between their runs of seed 0.")


def test_lines_that_differ_in_two_things_are_not_compared(make_run):
    labels = [
        make_run(f"{arm} {weight}", 0, {"good": [0.5]}, None, {"weight": weight}, arm)
        for arm in ("grpo", "gdpo")
        for weight in (1, 2)
    ]
    pairs = {(found.first, found.second) for found in study(labels).comparisons}
    assert pairs == {("grpo 1", "grpo 2"), ("gdpo 1", "gdpo 2"), ("grpo 1", "gdpo 1"), ("grpo 2", "gdpo 2")}


def test_nothing_to_report_is_refused():
    with pytest.raises(ConfigError, match="there is nothing to report: no run finished and none failed"):
        study([])


def test_two_runs_of_a_cell_are_refused(make_run):
    with pytest.raises(ConfigError, match="line 'gdpo' has two runs of seed 0; give one of them another line"):
        study([make_run("gdpo", 0, {"good": [0.5]})], [FailedRun("gdpo", 0, "again")])


def test_only_failures(tmp_path):
    results = study([], [FailedRun("gdpo", 0, "no memory", tmp_path / "log")])
    assert (results.lines, results.rewards, results.comparisons) == ((), (), ())
    assert results.failures[0].log == str(tmp_path / "log")


def test_a_band_by_hand():
    one = Curve.of({1: 0.0, 2: 1.0, 3: 1.0, 4: 1.0})
    two = Curve.of({1: 1.0, 2: 1.0})
    assert band([one, two], 2) == Band((1.5, 3.5), (0.75, 1.0), (0.625, 1.0), (0.875, 1.0), (2, 1))
    assert band([one, two], 0).steps == (1, 2, 3, 4)


def test_bins_keep_the_mean_of_a_curve():
    """Smoothing moves nothing up or down."""
    values = np.random.default_rng(0).normal(size=120)
    found = band([Curve.of({step + 1: value for step, value in enumerate(values)})], 3)
    assert len(found.steps) == 40
    assert np.mean(found.median) == pytest.approx(values.mean(), abs=1e-3)
    assert np.mean(found.steps) == pytest.approx(60.5)


@pytest.mark.parametrize(("lines", "points"), [(2, 50), (6, 25)])
def test_curves_stay_small(make_run, lines: int, points: int):
    held_out = {step: {"good": 0.5} for step in range(301)}
    results = study([make_run(f"line {k}", 0, {"good": [0.5] * 300}, held_out) for k in range(lines)])
    curves = results.lines[0].curves
    assert len(curves["training"]["good"].steps) == points
    assert len(curves["held-out"]["good"].steps) == 50
    assert (curves["held-out"]["good"].steps[0], curves["held-out"]["good"].steps[-1]) == (0, 300)


def test_results_come_back_as_they_were_written(two_lines, tmp_path, make_run):
    failed = FailedRun("grpo", 9, 'it  said:\n {"no"  }\n[ 1,  2 ]')
    results = study([*two_lines, make_run("odd", 0, {"good": [0.5]}, clip=float("inf"))], [failed])
    path = tmp_path / "results.json"
    path.write_text(results.to_json())
    back = Results.load(path)
    assert back.to_json() == results.to_json()
    assert back.failures == results.failures
    assert back.lines == results.lines
    assert attrs.evolve(back, common={}, different={}) == attrs.evolve(results, common={}, different={})


@pytest.mark.parametrize("content", ["[]", "{", '{"format": 2}', '{"title": "t"}'])
def test_another_file_is_no_result(tmp_path, content: str):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"results.json is not the results.json of a report"):
        Results.load(path)


def test_results_of_another_format_are_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"format": 99}')
    with pytest.raises(DataError, match=r"has format 99, this morl reads 2; make the report again"):
        Results.load(path)
