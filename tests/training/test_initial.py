"""The evaluation of the initial policy is skipped, or taken from a run that made it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from morl import train
from morl.errors import ConfigError
from morl.training.initial import initial_evaluation
from morl.training.run import read_yaml


@pytest.fixture
def evaluated(settings, prompt_file):
    def make(**changes):
        prompts = {"path": str(prompt_file), "limit": 5}
        base = {"evaluation.prompts": prompts, "training.steps": 1, "training.checkpoint_every": 0}
        return settings({**base, **changes})

    return make


def changed(section, entry, **values):
    return {**section, entry: {**section[entry], **values}}


def steps(result) -> list[int]:
    return [row["step"] for row in json.loads((result.folder / "evaluation.json").read_text())]


def test_it_is_skipped_or_taken_from_another_run_or_refused(evaluated, tmp_path, capsys):
    first = train(evaluated(**{"output": str(tmp_path / "first"), "trainer.progress": True}))
    assert steps(first) == [0, 1]
    said = capsys.readouterr().err
    assert "evaluating the initial policy: 5 held-out prompts x 1 completion" in said
    assert "evaluating the policy after 1 steps: 5 held-out prompts" in said
    (row, _) = json.loads((first.folder / "evaluation.json").read_text())
    assert row["prompts"] == 5
    assert set(row["intervals"]) == {"short", "vowel", "completions/length_mean", "completions/truncated"}

    skipped = train(evaluated(**{"output": str(tmp_path / "skipped"), "evaluation.initial": False}))
    assert steps(skipped) == [1]
    assert capsys.readouterr().err.count("evaluating") == 0, "without the display nothing is said"

    other = {"output": str(tmp_path / "taken"), "evaluation.initial": str(first.folder), "rewards.vowel.weight": 2.0}
    taken = train(evaluated(**other, **{"trainer.progress": True}))
    assert steps(taken) == [0, 1]
    assert "the initial policy" not in capsys.readouterr().err
    assert taken.evaluations[0] == first.evaluations[0]
    assert json.loads((taken.folder / "evaluation.json").read_text())[0] == row

    resolved = read_yaml(first.folder / "config.yaml")
    for key, value, says in (
        ("seed", 7, "its seed is 1, here it is 7"),
        ("sampling", {**resolved["sampling"], "top_p": 0.5}, "its sampling.top_p is 1.0, here it is 0.5"),
        ("policy", {**resolved["policy"], "path": "<Model>"}, "policy.path is an object"),
        ("rewards", changed(resolved["rewards"], "short", limit=3), "its rewards.short.limit is"),
        ("rewards", {"vowel": resolved["rewards"]["vowel"]}, "its rewards.short."),
        ("trainer", {**resolved["trainer"], "precision": "bf16-true"}, "its trainer.precision is"),
        ("rollout", {**resolved["rollout"], "name": "vllm"}, "its rollout.name is 'transformers', here it is 'vllm'"),
        ("evaluation", changed(resolved["evaluation"], "prompts", limit=4), "its evaluation.prompts.limit is 5, here"),
        ("environment", {"name": "tools"}, "its environment.name is None, here it is 'tools'"),
    ):
        with pytest.raises(ConfigError, match=re.escape(says)):
            initial_evaluation(str(first.folder), {**resolved, key: value})
    conversing = {"name": "world", "weight": 1.0, "max_failed_steps": 3}
    other = {**resolved, "environment": conversing}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text(yaml.safe_dump(other))
    shutil.copy(first.folder / "evaluation.json", tmp_path / "other")
    of_training_alone = {
        "policy": {**resolved["policy"], "gradient_checkpointing": True, "router_loss_coef": 0.5},
        "rollout": {**resolved["rollout"], "lag": 2, "max_logprob_difference": 0.5},
        "evaluation": {**resolved["evaluation"], "every": 7, "initial": False},
        "environment": {**conversing, "weight": 0.5, "max_failed_steps": None},
        "rewards": changed(resolved["rewards"], "short", weight=0.5, max_failed_steps=9),
        "training": {**resolved["training"], "steps": 99},
    }
    assert initial_evaluation(str(tmp_path / "other"), {**other, **of_training_alone}) == {
        name: value for name, value in row.items() if name != "step"
    }
    with pytest.raises(ConfigError, match="has no evaluation of the initial policy"):
        initial_evaluation(str(skipped.folder), resolved)
    with pytest.raises(ConfigError, match="is not the folder of a run with evaluations"):
        initial_evaluation(str(Path(tmp_path)), resolved)
