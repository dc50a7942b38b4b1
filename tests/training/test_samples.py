"""The samples of a real run hold what explains them, and the commands that read them agree with the run."""

from __future__ import annotations

import json

import pytest
import torch

from morl.cli import main
from morl.errors import ConfigError
from morl.report.replay import replay
from morl.report.view import read_view
from morl.training import train

CONDITIONED = {
    "estimator.name": "conditioned-gdpo",
    "estimator.conditions": {"short": {"on": "vowel", "otherwise": "missing"}},
}


def samples_of(result):
    path = result.folder / "samples" / "step-000001.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_samples_hold_the_row_the_group_and_what_the_estimator_saw(settings):
    result = train(settings({"training.steps": 1, **CONDITIONED}))
    samples = samples_of(result)
    assert [sample["group"] for sample in samples] == [n // 4 for n in range(24)]
    for sample in samples:
        assert sample["prompt"].endswith(f" {sample['columns']['answer']}")
        assert sample["failed"] == []
        expected = {} if sample["rewards"]["vowel"] >= 1 else {"short": None}
        assert sample["conditioned"] == expected
    assert {len(sample["conditioned"]) for sample in samples} == {0, 1}, "both cases occur"


def test_the_estimator_of_the_run_replays_its_advantages(settings):
    result = train(settings({"training.steps": 1, **CONDITIONED}))
    view = read_view(result.folder)
    options = {"conditions": CONDITIONED["estimator.conditions"]}
    own, again = replay(view, view.samples(), "gdpo", options).found
    torch.testing.assert_close(own.values_B, again.values_B, rtol=0, atol=1e-9)
    assert own.shares == pytest.approx(again.shares, abs=1e-9)


OWN = {
    "conditioned": CONDITIONED,
    "lagrangian": {
        "estimator.weighting": {"name": "lagrangian", "constraints": {"vowel": {"at_least": 0.9}}, "lr": 0.7},
        "rewards.vowel.bounds": [0, 1],
    },
    "dvao": {"estimator.weighting": {"name": "dvao"}},
    "sa-mrpo": {"estimator": {"name": "grpo", "weighting": {"name": "sa-mrpo"}}},
    "reinforce++": {"estimator": {"name": "reinforce++"}},
    "preset": {"estimator": {"name": "gdpo", "preset": "trl"}},
}


@pytest.mark.parametrize("name", OWN)
def test_the_run_s_own_estimator_replays_every_step_without_being_named(settings, name, caplog):
    result = train(settings({"training.steps": 3, "training.samples_every": 1, **OWN[name]}))
    view = read_view(result.folder)
    assert list(view.sample_steps) == [1, 2, 3]
    used = set()
    for step in view.sample_steps:
        replayed = replay(view, view.samples(step), None, {})
        own, again = replayed.found
        torch.testing.assert_close(own.values_B, again.values_B, rtol=0, atol=1e-9)
        assert own.shares == pytest.approx(again.shares, abs=1e-9)
        adapts = name == "lagrangian"
        assert replayed.notes == (
            ["The weighting adapts from step to step; its weights are those that the step was logged with."]
            if adapts
            else []
        )
        used.add(tuple(view.samples(step).samples[0].weights.items()))
    if name == "lagrangian":
        assert len(used) == 3  # the multipliers moved
        by_name = replay(view, view.samples(3), "gdpo", {"weighting": view.config["estimator"]["weighting"]})
        assert "it begins anew here" in by_name.notes[0]
        assert not torch.allclose(by_name.found[0].values_B, by_name.found[1].values_B)


def test_what_is_masked_is_said_to_be_left_out_though_it_has_an_advantage(settings, capsys):
    changes = {"training.steps": 1, "training.mask_truncated": True, "sampling.max_tokens": 20}
    result = train(settings({**changes, "sampling.stop": ["e", "a", "n"]}))
    samples = samples_of(result)
    number = next(n for n, sample in enumerate(samples) if sample["truncated"] and sample["advantage"])
    other = next(n for n, sample in enumerate(samples) if not sample["truncated"] and sample["advantage"])
    assert samples[number]["fates"] == {"masked": samples[number]["tokens"]}
    assert main(["explain", str(result.folder), f"--completion={number}"]) == 0
    assert "the loss leaves the completion out" in capsys.readouterr().out
    assert main(["explain", str(result.folder), f"--completion={other}"]) == 0
    said = capsys.readouterr().out
    fates = samples[other]["fates"]
    assert sum(fates.values()) == samples[other]["tokens"]
    pushed = "up" if samples[other]["advantage"] > 0 else "down"
    assert f"{fates[pushed]} pushed {pushed}" in said
    assert "leaves the completion out" not in said


def test_a_failure_is_told_from_a_reward_that_does_not_apply(settings, tmp_path):
    path = tmp_path / "scores.py"
    path.write_text(
        "def score(prompts, completions, answer, **columns):\n"
        "    (number,) = map(int, answer)\n"
        "    if number % 3 == 0:\n        raise ValueError(number)\n"
        "    return [None if number % 3 == 1 else 1.0]\n"
    )
    rewards = {
        "picky": {"name": "python", "function": f"{path}:score", "batched": False},
        "vowel": {"name": "regex", "pattern": "[ae]"},
    }
    result = train(settings({"training.steps": 1, "rewards": rewards}))
    seen = set()
    for sample in samples_of(result):
        kind = int(sample["columns"]["answer"]) % 3
        assert sample["rewards"]["picky"] == (1.0 if kind == 2 else None)
        assert sample["failed"] == (["picky"] if kind == 0 else [])
        seen.add(kind)
    assert seen == {0, 1, 2}
    assert main(["report", str(result.folder)]) == 0
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    assert "<code>picky</code> has no score here: does not apply." in page
    assert "<code>picky</code> has no score here: failed." in page


def test_completions_that_the_estimator_did_not_see_are_marked_and_replayed_without(settings):
    changes = {"training.steps": 1, "training.mask_truncated": "statistics", "sampling.max_tokens": 20}
    result = train(settings({**changes, "sampling.stop": ["e", "a", "n"]}))
    samples = samples_of(result)
    assert [sample.get("left_out", False) for sample in samples] == [sample["truncated"] for sample in samples]
    assert {sample["truncated"] for sample in samples} == {True, False}
    view = read_view(result.folder)
    own, again = replay(view, view.samples(), "gdpo", {}).found
    torch.testing.assert_close(own.values_B, again.values_B, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("limit", "kept"), [(1, 4), (11, 8), (12, 12), (99, 24)])
def test_the_limit_of_samples_keeps_whole_groups(settings, limit, kept):
    result = train(settings({"training.steps": 1, "training.samples_limit": limit}))
    groups = [sample["group"] for sample in samples_of(result)]
    assert len(groups) == kept
    assert all(groups.count(group) == 4 for group in groups)


def test_a_limit_of_samples_that_are_not_written_is_refused(settings):
    with pytest.raises(ConfigError, match=r"samples_limit has no effect: training\.samples_every=0"):
        train(settings({"training.samples_every": 0, "training.samples_limit": 8}))


def test_a_column_that_json_cannot_hold_is_text_and_a_long_one_is_cut():
    from morl.runtime.samples import MOST_CHARACTERS, bounded

    assert bounded({"a": [1, None]}) == {"a": [1, None]}
    assert bounded(float("nan")) == "nan"
    assert bounded({1, 2}) == "{1, 2}"
    assert bounded("x" * (MOST_CHARACTERS + 50)).count("x") == MOST_CHARACTERS - 1
