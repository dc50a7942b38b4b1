"""A whole evaluation and short trainings with a tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import morl
from morl import hookimpl
from morl.evaluation.run import evaluate_model
from morl.testing import ScriptedReplies, tiny_chat_model
from morl.types import RewardScores, RolloutBatch
from morl_bfcl.calls import positional
from morl_bfcl.entries import find
from morl_bfcl.environment import BFCLEnvironment


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_chat_model(tmp_path_factory.mktemp("model"), context=16_384)


def config(model: str, **more: Any) -> dict[str, Any]:
    return {
        "policy": {"path": model},
        "prompts": {"name": "bfcl", "category": ["simple_python", "irrelevance"], "limit": 2},
        "sampling": {"max_tokens": 4},
        "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
        **more,
    }


@pytest.mark.parametrize("functions", [{}, {"functions": "tools", "tools_column": "tools"}], ids=["system", "tools"])
def test_evaluation_by_category(model: str, functions: dict[str, str]) -> None:
    """Whoever says nothing that can be read is right where no call is."""
    held_out = {"name": "bfcl", "category": ["simple_python", "irrelevance"], "limit": 2, "skip": 2, **functions}
    evaluation = evaluate_model(
        config(
            model,
            evaluation={"prompts": held_out, "samples": 1, "temperature": 0},
            rewards={"category": {"name": "bfcl-ast-by-category", "categories": ["simple_python", "irrelevance"]}},
        ),
        model,
    )
    figures = evaluation.figures.rewards
    assert {name: (figure.mean.mean, figure.scored) for name, figure in figures.items()} == {
        "simple_python": (0.0, 2),
        "irrelevance": (1.0, 2),
    }
    assert figures["irrelevance"].mean.low is not None


def test_training(model: str, tmp_path: Path) -> None:
    rewards = {"ast": {"name": "bfcl-ast"}, "format": {"name": "bfcl-format"}, "short": {"name": "length", "limit": 8}}
    training = {"steps": 2, "prompts_per_step": 2, "samples_every": 0}
    result = morl.train(config(model, output=str(tmp_path), rewards=rewards, training=training))
    assert result.rewards == ("ast", "format", "short")
    assert result.model.is_dir()


class Recorder:
    """Keeps the scores of the last step."""

    @hookimpl
    def morl_rewards_ready(self, rollouts: RolloutBatch, scores: RewardScores) -> None:
        self.rollouts, self.scores = rollouts, scores


def test_training_on_a_conversation(model: str, tmp_path: Path) -> None:
    """The reference answer solves the task, and silence does not."""
    entry = find("multi_turn_base_1")
    replies = []
    for calls in entry.answer or []:
        made = [positional(text) for text in calls]
        blocks = [json.dumps({"name": name, "arguments": dict(named)}) for name, _, named in made]
        replies += ["".join(f"<tool_call>{block}</tool_call>" for block in blocks), "Done."]

    def script(context: str, member: int, turn: int) -> str:
        follows = turn == 0 or "<tool_call>" in context
        return replies[turn] if follows and member == 0 else "Done."

    recorder = Recorder()
    changes = {
        "prompts": {"name": "bfcl", "category": "multi_turn_base", "functions": "tools", "skip": 1, "limit": 1},
        "environment": {"name": "bfcl", "weight": {"failed": -1.0}},
        "rewards": {},
        "estimator": {"name": "grpo"},
        "sampling": {"max_tokens": 400},
        "training": {"steps": 2, "prompts_per_step": 1, "group_size": 2, "samples_every": 0},
        "output": str(tmp_path),
    }
    morl.train(config(model, **changes), plugins=[recorder], rollout=ScriptedReplies(script))
    names = recorder.scores.names
    assert names == BFCLEnvironment.reward_names
    solved, silent = (dict(zip(names, row, strict=True)) for row in recorder.scores.values_BK.tolist())
    assert math.isnan(solved.pop("quiet"))
    assert solved == {"solved": 1.0, "state": 1.0, "response": 1.0, "failed": 0.0}
    assert (silent["solved"], silent["state"], silent["response"]) == (0.0, 0.0, 0.0)
    assert recorder.rollouts.statuses == ("completed", "completed")
