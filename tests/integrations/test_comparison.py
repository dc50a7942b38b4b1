"""`morl estimators compare`."""

from __future__ import annotations

import json

import pytest

from morl.advantage import GDPO
from morl.cli import main
from morl.integrations.comparison import PRESETS, compared, random_rewards


def said(capsys, *arguments: str, code: int = 0) -> str:
    assert main(["estimators", *arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_a_random_batch_shows_each_preset(capsys):
    text = said(capsys, "compare", "--prompts=2", "--group-size=3", "--rewards=2", "--rows=4")
    head, *rows = text.splitlines()
    assert head.split() == ["group", "r0", "r1", "|", "morl", *PRESETS]
    rewards = random_rewards(2, 3, 2, 0)
    assert [float(row.split()[4]) for row in rows[:4]] == pytest.approx(GDPO()(rewards).values_B[:4].tolist(), abs=1e-6)
    assert rows[4] == "... 2 more"
    for preset, line in zip(PRESETS, rows[6:], strict=True):
        values = GDPO(preset=preset)(rewards).values_B
        largest = float((values - GDPO()(rewards).values_B).abs().max())
        assert line.startswith(f"{preset}: differs from morl by ")
        assert f"{largest:.2g} at most; 0 of 6 have another sign" in line


def test_a_run_is_compared_on_its_last_samples_and_a_preset_may_refuse_them(capsys, tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    scores = [(1.0, 0.2), (0.0, None), (1.0, 0.9), (0.0, 0.4)]
    lines = [{"prompt_row": 7 + n // 2, "rewards": {"correct": c, "brief": b}} for n, (c, b) in enumerate(scores)]
    (folder / "step-000001.jsonl").write_text("not looked at\n")
    (folder / "step-000002.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = said(capsys, "compare", str(tmp_path), "--estimator=grpo", "--weights=brief=0.5")
    assert text.splitlines()[0].split()[:3] == ["group", "correct", "brief"]
    assert "trl: differs from morl by " in text
    assert "verl: reward 'brief' of completion 1 is missing, and the trainer of this preset has no rule" in text


def test_a_run_is_compared_with_its_own_weights_and_groups(capsys, tmp_path):
    """Two groups of one prompt, and a weight that is not 1."""
    (tmp_path / "samples").mkdir()
    scores = [(1.0, 0.25), (0.0, 0.5), (0.0, 0.75), (1.0, 0.25), (3.0, 0.0), (1.0, 0.5)]
    lines = [
        {"prompt_row": 7, "group": n // 3, "rewards": {"a": a, "b": b}, "weights": {"a": 1.0, "b": 4.0}}
        for n, (a, b) in enumerate(scores)
    ]
    file = tmp_path / "samples" / "step-000001.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = said(capsys, "compare", str(tmp_path), "--estimator=grpo-no-std").splitlines()
    totals = [a + 4 * b for a, b in scores]
    means = [sum(totals[:3]) / 3] * 3 + [sum(totals[3:]) / 3] * 3
    expected = [total - mean for total, mean in zip(totals, means, strict=True)]
    assert [float(row.split()[4]) for row in rows[1:7]] == pytest.approx(expected, abs=1e-6)
    assert rows[-1] == "weights: a 1, b 4"
    rows = said(capsys, "compare", str(tmp_path), "--estimator=grpo-no-std", "--weights=b=0").splitlines()
    assert rows[-1] == "weights: a 1, b 0"
    assert "unknown reward 'bb'; did you mean 'b'?" in said(capsys, "compare", str(tmp_path), "--weights=bb=2", code=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compare", "nowhere"], "nowhere is no folder; RUN is the folder of a run"),
        (["compare", "--group-size=1"], "gdpo compares the completions of a prompt: --group-size must be >= 2"),
        (["compare", "nowhere", "--seed=1"], "--seed is of a random batch"),
        (["compare", "--rows=0"], "expected a number >= 1, got '0'"),
        (["compare", "--weights=brief"], "expected NAME=WEIGHT"),
        (["compare", "--weights=r9=1"], "weight for unknown reward 'r9'"),
        (["compare", "--estimator=gpo"], "invalid choice: 'gpo'"),
        (["show"], "invalid choice: 'show'"),
    ],
)
def test_wrong_arguments_are_told(capsys, arguments, says):
    text = " ".join(said(capsys, *arguments, code=2).split())
    assert says in text.partition("error: ")[2]


def test_samples_of_something_else_are_refused(capsys, tmp_path):
    assert f"{tmp_path} has no samples/step-*.jsonl" in said(capsys, "compare", str(tmp_path), code=2)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "step-000001.jsonl").write_text('{"text": 1}\n')
    assert "holds no samples of morl: KeyError('rewards')" in said(capsys, "compare", str(tmp_path), code=2)


def test_help_is_printed(capsys):
    assert said(capsys, "--help").startswith("usage: morl estimators compare [RUN] [options]")


def test_all_estimators_can_be_compared():
    for name in ("gdpo", "grpo", "grpo-no-std"):
        assert [column.name for column in compared(name, random_rewards(2, 2, 1, 3))] == ["morl", *PRESETS]
