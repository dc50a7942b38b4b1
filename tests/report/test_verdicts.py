"""What is said of a reward follows from its metrics, and `morl audit` answers with an exit code."""

from __future__ import annotations

import pytest

from morl.cli import main
from morl.report.verdicts import verdicts
from morl.report.view import read_view

RISING = [0.1, 0.12, 0.11, 0.3, 0.5, 0.6, 0.8, 0.81, 0.82, 0.8, 0.82, 0.81]
FLAT = [0.5, 0.52, 0.49, 0.5, 0.51, 0.5, 0.49, 0.52, 0.5, 0.51, 0.5, 0.5]
CONFIG = {"rewards": {"correct": {"weight": 1.0}, "format": {"weight": 0.5}}}


def columns(**more):
    of = {"correct": FLAT, "format": FLAT}
    found = {f"reward/{name}/mean": values for name, values in of.items()}
    for name in of:
        found |= {f"reward/{name}/failed": [0.0] * 12, f"reward/{name}/dead_groups": [0.2] * 12}
        found |= {f"reward/{name}/advantage_share": [0.5] * 12}
    return {**found, "completions/length_mean": [20.0] * 12, "completions/truncated": [0.0] * 12, **more}


def kinds(folder, reward):
    return {verdict.kind: verdict.text for verdict in verdicts(read_view(folder)) if verdict.reward == reward}


@pytest.mark.parametrize(
    ("changed", "kind", "text"),
    [
        ({"reward/correct/mean": RISING}, "learning", "mean from 0.11 to 0.81"),
        ({"reward/correct/mean": RISING[::-1]}, "falling", "mean from 0.81 to 0.11"),
        ({}, "no change", "no clear change: mean 0.503 in the first steps, 0.503 in the last"),
        ({"reward/correct/mean": ["nan"] * 12}, "never scored", "never scored"),
        (
            {"reward/correct/mean": [0.5] * 9 + ["nan"] * 3},
            "no longer scored",
            "no completion after step 9",
        ),
        ({"reward/correct/mean": [0.5] * 10 + ["nan"] * 2}, "too short", "too few steps"),
        ({"reward/correct/failed": [0.0] * 9 + [0.3] * 3}, "failing", "failing in 30% of the completions"),
        ({"reward/correct/saturation": [0.97] * 12}, "saturated", "at 97% of its range"),
        ({"reward/correct/dead_groups": [0.96] * 12}, "constant", "in 96% of the groups"),
    ],
)
def test_a_verdict_follows_from_the_last_quarter_of_the_steps(make_folder, changed, kind, text):
    found = kinds(make_folder(columns(**changed), None, CONFIG), "correct")
    assert text in found[kind]


def test_a_reward_without_its_share_of_the_advantage_is_crowded_out_by_the_one_that_has_it(make_folder):
    shares = {"reward/correct/advantage_share": [0.04] * 12, "reward/format/advantage_share": [0.96] * 12}
    folder = make_folder(columns(**shares, **{"reward_correlation/correct~format": [-0.2] * 12}), None, CONFIG)
    assert kinds(folder, "correct")["crowded out"] == (
        "crowded out by `format`: 4% of the advantage against 96%; correlation of the two -0.20"
    )
    assert "crowded out" not in kinds(folder, "format")


def test_a_reward_that_another_cancels_is_crowded_out_by_that_one(make_folder):
    of = {"reward/correct/advantage_share": [0.02] * 12, "reward/format/advantage_share": [0.38] * 12}
    of |= {"reward/brief/mean": FLAT, "reward/brief/advantage_share": [0.6] * 12}
    pairs = {"correct~format": -0.28, "correct~brief": 0.0, "format~brief": 0.1}
    of |= {f"contribution_covariance/{pair}": [value] * 12 for pair, value in pairs.items()}
    folder = make_folder(columns(**of), None, CONFIG)
    assert kinds(folder, "correct")["crowded out"] == (
        "crowded out by `format`: 2% of the advantage against 38%; by itself it had 30%, and they work against each"
        " other (-28%)"
    )


STUCK = {"reward/correct/dead_groups": [0.97] * 12, "reward/correct/reached": [0.0] * 12}


@pytest.mark.parametrize(
    ("low", "high", "changed", "kind", "text"),
    [
        (0.97, 0.0, {}, "never right", "in 97% of the groups every score is the lowest"),
        (0.97, 0.0, {"reward/correct/reached": [0.1] + [0.0] * 11}, "constant", "all lowest in 97%, all highest in 0%"),
        (0.0, 0.97, {}, "saturated", "in 97% of the groups every score is the highest"),
        (0.5, 0.47, {}, "constant", "all lowest in 50%, all highest in 47%"),
    ],
)
def test_groups_say_on_which_side_a_reward_is_stuck(make_folder, low, high, changed, kind, text):
    groups = {"reward/correct/groups_all_low": [low] * 12, "reward/correct/groups_all_high": [high] * 12}
    found = kinds(make_folder(columns(**STUCK, **groups) | changed, None, CONFIG), "correct")
    assert text in found[kind]
    assert {"never right", "saturated", "constant"} & set(found) == {kind}


def test_a_reward_that_does_not_change_says_where_most_groups_have_it_at_its_lowest(make_folder):
    groups = {"reward/correct/groups_all_low": [0.7] * 12, "reward/correct/groups_all_high": [0.0] * 12}
    found = kinds(make_folder(columns(**groups), None, CONFIG), "correct")
    assert found["no change"].endswith("in 70% of the groups every score is the lowest, and teaches nothing")


def test_a_reward_of_weight_0_is_not_crowded_out(make_folder):
    shares = {"reward/correct/advantage_share": [0.0] * 12, "reward/format/advantage_share": [1.0] * 12}
    found = kinds(make_folder(columns(**shares), None, {"rewards": {"correct": {"weight": 0}}}), "correct")
    assert "unweighted" in found
    assert "crowded out" not in found


def test_few_steps_have_no_verdict_on_a_change(make_folder):
    few = {name: values[:4] for name, values in columns().items()}
    assert "too few steps" in kinds(make_folder(few, None, CONFIG), "correct")["too short"]


def audited(capsys, folder):
    code = main(["audit", str(folder)])
    return code, capsys.readouterr().out


def test_a_sound_run_passes(make_folder, capsys):
    code, text = audited(capsys, make_folder(columns(), None, CONFIG))
    assert code == 0
    assert text.count("ok  ") == 4
    assert "unknown log-probabilities" in text


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"reward/correct/failed": [0.3] * 12}, "FAILS   reward correct"),
        ({"completions/length_mean": [10.0] * 6 + [16.0] * 6}, "FAILS   length"),
        ({"completions/truncated": [0.5] * 12}, "FAILS   truncated"),
        ({"rollout/logprob_difference": [0.5] * 12}, "FAILS   log-probabilities"),
    ],
)
def test_a_check_that_fails_is_an_exit_code(make_folder, capsys, changed, line):
    code, text = audited(capsys, make_folder(columns(**changed), None, CONFIG))
    assert code == 1
    assert line in text
    assert text.count("FAILS") == 1


def test_a_run_without_a_finished_step_is_not_called_sound(make_folder, capsys):
    code, text = audited(capsys, make_folder(None, None, CONFIG))
    assert code == 0
    assert "ok" not in text
    assert "unknown rewards            there are no metrics of a finished step" in text
