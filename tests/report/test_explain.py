"""`morl explain` and `morl replay`: numbers of a logged step, checked against the estimators and against plain sums."""

from __future__ import annotations

import json
import statistics

import pytest
import torch

from morl.advantage import GDPO, GRPO
from morl.cli import main
from morl.report.replay import replay
from morl.report.view import read_view
from morl.types import RewardMatrix

from .conftest import rows

SCORES = [(1.0, 0.2), (0.0, None), (0.0, 0.9), (1.0, 0.4), (0.0, 0.1), (0.0, 0.3), (0.0, 0.3), (0.0, 0.8)]
CONFIG = {"rewards": {"correct": {"weight": 1.0}, "brief": {"weight": 0.5}}}


def logged():
    """Two groups of four with the advantages that GDPO gives them."""
    values = torch.tensor([[c, float("nan") if b is None else b] for c, b in SCORES], dtype=torch.float64)
    matrix = RewardMatrix.from_groups(values.view(2, 4, 2), ("correct", "brief"), {"brief": 0.5})
    answer = GDPO()(matrix)
    found = rows([{"correct": c, "brief": b} for c, b in SCORES], 4)
    for row, value, parts in zip(found, answer.values_B.tolist(), answer.contributions_BK.tolist(), strict=True):
        row |= {"advantage": value, "contributions": dict(zip(matrix.names, parts, strict=True))}
    return found, matrix


def said(capsys, *arguments, code=0):
    assert main([*arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_a_completion_is_explained_from_its_group_to_its_advantage(make_folder, capsys):
    found, _ = logged()
    text = said(capsys, "explain", str(make_folder(None, found, CONFIG)), "--completion=2")
    line = next(line for line in text.splitlines() if line.startswith("brief"))
    group = [0.2, 0.9, 0.4]
    mean, std = statistics.fmean(group), statistics.stdev(group)
    z = (0.9 - mean) / std
    expected = [0.9, 3, mean, std, z, 0.5, 0.5 * z, found[2]["contributions"]["brief"]]
    assert line.split()[1:] == [f"{value:.4g}" for value in expected]
    assert f"The advantage is {found[2]['advantage']:+.4g}" in text
    correct = next(line for line in text.splitlines() if line.startswith("correct"))
    assert float(correct.split()[-1]) + float(line.split()[-1]) == pytest.approx(found[2]["advantage"], abs=1e-3)


def test_a_reward_that_does_not_vary_in_the_group_is_said_to_tell_nothing(make_folder, capsys):
    text = said(capsys, "explain", str(make_folder(None, logged()[0], CONFIG)), "--completion=5")
    assert "`correct` is 0, as all 4 scores of the group, so it tells nothing apart." in text


@pytest.mark.parametrize(
    ("more", "why"),
    [({}, "missing"), ({"failed": ["brief"]}, "failed"), ({"failed": []}, "does not apply")],
)
def test_a_missing_score_says_why_where_the_file_knows(make_folder, capsys, more, why):
    found, _ = logged()
    found[1] |= more
    text = said(capsys, "explain", str(make_folder(None, found, CONFIG)), "--completion=1")
    assert f"`brief` has no score here: {why}." in text


def test_a_score_that_a_condition_took_away_is_explained_by_the_condition(make_folder, capsys):
    found, _ = logged()
    found[2] |= {"failed": [], "conditioned": {"brief": None}}
    text = said(capsys, "explain", str(make_folder(None, found, CONFIG)), "--completion=2")
    assert "`brief` has no score here: its condition is not reached." in text


def test_a_score_that_a_condition_replaced_is_told_with_the_score_that_was_given(make_folder, capsys):
    found, _ = logged()
    found[2] |= {"failed": [], "conditioned": {"brief": 0.0}}
    text = said(capsys, "explain", str(make_folder(None, found, CONFIG)), "--completion=2")
    mean, std = statistics.fmean([0.2, 0.0, 0.4]), statistics.stdev([0.2, 0.0, 0.4])
    given = "`brief` is 0 (it was scored 0.9, but its condition is not reached)"
    assert f"{given}, {mean / std:.2f} standard deviations below its group's mean of {mean:.4g};" in text


def test_a_run_is_explained_without_arguments(make_folder, capsys):
    columns = {"reward/correct/mean": [0.5] * 12, "reward/brief/mean": [0.5] * 12}
    text = said(capsys, "explain", str(make_folder(columns, logged()[0], CONFIG)))
    assert "correct: no clear change" in text
    assert "0.9  completion 2: answer 2" in text


def test_the_estimator_of_the_run_gives_the_logged_advantages(make_folder):
    found, matrix = logged()
    view = read_view(make_folder(None, found, CONFIG))
    replayed = replay(view, view.samples(), "gdpo", {})
    rewards, (own, again) = replayed.rewards, replayed.found
    torch.testing.assert_close(own.values_B, again.values_B, rtol=0, atol=1e-12)
    assert own.distinct == again.distinct == len(set(matrix_advantages(matrix)))
    assert sum(again.shares.values()) == pytest.approx(1)
    assert own.shares == pytest.approx(again.shares)
    assert rewards.weights == {"correct": 1.0, "brief": 0.5}


def matrix_advantages(matrix):
    return [round(value, 9) for value in GDPO()(matrix).values_B.tolist()]


def test_other_weights_and_options_are_those_of_the_estimator(make_folder, capsys):
    found, matrix = logged()
    folder = make_folder(None, found, CONFIG)
    view = read_view(folder)
    other = replay(view, view.samples(), "grpo", {"weights.brief": 3, "eps": 0.5}).found[-1]
    expected = GRPO(eps=0.5)(RewardMatrix(matrix.values_BK, matrix.group_ids_B, matrix.names, {"brief": 3.0}))
    assert torch.equal(other.values_B, expected.values_B)
    arguments = ["--estimator=grpo", "--set", "eps=5e-1", "--set", "weights.brief=3", "--rows=1"]
    text = said(capsys, "replay", str(folder), *arguments)
    assert f"{float(expected.values_B[0]):.6f}" in text
    assert "... 7 more" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["explain", "RUN", "--completion=99"], "step 8 has 8 completions, from 0 on"),
        (["explain", "RUN", "--completion=0", "--step=3"], "no samples of step 3; steps with samples: 8"),
        (["explain", "RUN", "--step=8"], "name one with --completion"),
        (["explain", "RUN", "--completion=-1"], "expected a whole number, got '-1'"),
        (["replay", "RUN"], "does not say which estimator the run had; name one with --estimator"),
        (["replay", "RUN", "--estimator=gdop"], "did you mean 'gdpo'?"),
        (["replay", "RUN", "--estimator=gdpo", "--set", "weights.breif=1"], "did you mean 'brief'?"),
        (["replay", "RUN", "--estimator=gdpo", "--set", "weights.brief=x"], "a weight must be a number; got 'x'"),
        (["replay", "RUN", "--estimator=gdpo", "--set", "esp=1"], "refused its options"),
        (["replay", "RUN", "--estimator=gdpo", "--set", "eps"], "expected OPTION=VALUE"),
        (["audit", "nowhere"], "nowhere is no run folder"),
        (["report", "RUN", "--output=."], "--output names a file"),
    ],
)
def test_errors_say_what_is_there(make_folder, capsys, arguments, says):
    folder = make_folder(None, logged()[0], CONFIG)
    text = said(capsys, *[str(folder) if each == "RUN" else each for each in arguments], code=2)
    assert says in text


def test_a_run_without_samples_says_so(make_folder, capsys):
    folder = make_folder({"reward/correct/mean": [0.5]}, None, CONFIG)
    assert "training.samples_every: 0" in said(capsys, "replay", str(folder), "--estimator=gdpo", code=2)


def test_samples_with_unlike_rewards_are_refused(make_folder, capsys):
    found, _ = logged()
    found[3]["rewards"] = {"correct": 1.0}
    folder = make_folder(None, found, CONFIG)
    assert "do not all have the rewards" in said(capsys, "replay", str(folder), "--estimator=gdpo", code=2)


def test_nothing_that_a_command_prints_controls_the_terminal(make_folder, capsys):
    found, _ = logged()
    evil = "\x1b[31mred\u202e"
    for row in found:
        row |= {"status": evil, "rewards": {evil: row["rewards"]["correct"]}, "contributions": {}, "completion": evil}
    folder = str(make_folder({f"reward/{evil}/mean": [0.5]}, found, {"estimator": {"name": "gdpo"}}))
    for command in (["explain"], ["explain", "--completion=0"], ["replay", "--rows=1"], ["audit"]):
        text = said(capsys, command[0], folder, *command[1:])
        assert "\\x1b[31mred" in text, command
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_a_file_with_no_sample_is_refused(make_folder, capsys):
    folder = make_folder(None, [{"no": "sample"}, json.loads("[1]")], CONFIG)
    assert "has no samples/step-*.jsonl with completions" in said(
        capsys, "explain", str(folder), "--completion=0", code=2
    )


@pytest.mark.parametrize(
    "turns",
    [
        [{"tokens": None}],
        [{"tokens": "many"}],
        [{"tokens": 5, "rewards": {"a": "x"}}],
        [{"tokens": 5, "rewards": [1]}],
        [{"tokens": 9}, {"tokens": -4}],
        [{"tokens": 1e400}],
    ],
    ids=str,
)
def test_turns_that_cannot_be_read_matter_to_estimators_of_turns_alone(make_folder, capsys, turns):
    found, _ = logged()
    found[2]["turns"] = turns
    folder = make_folder(None, found, CONFIG)
    view = read_view(folder)
    own, again = replay(view, view.samples(), "gdpo", {}).found
    torch.testing.assert_close(own.values_B, again.values_B, rtol=0, atol=1e-12)
    arguments = ["replay", str(folder), "--estimator=turn-level"]
    assert "do not say how many tokens each turn has" in said(capsys, *arguments, code=2)


def test_a_completion_whose_group_may_lack_lines_is_explained_with_that_caveat(make_folder, capsys):
    folder = make_folder(None, logged()[0], CONFIG)
    path = folder / "samples" / "step-000008.jsonl"
    path.write_text("{\n" + path.read_text())
    assert "1 lines of the file cannot be read: they are not counted" in said(
        capsys, "explain", str(folder), "--completion=0"
    )
