"""A short training in which the policy, whose replies are scripted, calls Python."""

from __future__ import annotations

from pathlib import Path

import morl
from morl import hookimpl
from morl.testing import ScriptedReplies, tiny_chat_model, tool_call
from morl.types import RewardScores, RolloutBatch


class Recorder:
    """Keeps what the last step was about."""

    @hookimpl
    def morl_rewards_ready(self, rollouts: RolloutBatch, scores: RewardScores) -> None:
        self.rollouts, self.scores = rollouts, scores


def call(code: str) -> str:
    return tool_call("python", code=code)


def test_a_policy_that_calls_python_is_trained(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "12 * 13?", "answer": "156"}\n')
    scripts = [
        (call("x = 12 * 13"), call("x"), "156"),
        (call("12 / 0"), "I do not know.", ""),
        ("157", "", ""),
    ]

    def script(context: str, member: int, turn: int) -> str:
        begun = [script for script in scripts if turn and script[0] in context]
        return (begun or scripts[member:])[0][turn]

    recorder = Recorder()
    morl.train(
        {
            "policy": {"path": tiny_chat_model(tmp_path / "model")},
            "prompts": {"path": str(tmp_path / "prompts.jsonl"), "chat": True},
            "environment": {"name": "python-sandbox", "seconds": 60, "total_seconds": 120},
            "rewards": {"correct": {"name": "exact-match", "column": "answer"}},
            "estimator": {"name": "grpo"},
            "sampling": {"max_tokens": 200},
            "training": {"steps": 2, "prompts_per_step": 1, "group_size": 3, "samples_every": 0},
            "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
            "output": str(tmp_path / "run"),
        },
        plugins=[recorder],
        rollout=ScriptedReplies(script),
    )
    scores = dict(zip(recorder.scores.names, recorder.scores.values_BK.T.tolist(), strict=True))
    assert scores["correct"] == [1.0, 0.0, 0.0]
    assert scores["ran"][:2] == [1.0, 0.0]
    assert scores["ran"][2] != scores["ran"][2]  # missing
    told = [[message["content"] for turn in turns for message in turn.answers] for turns in recorder.rollouts.turns]
    assert told[0] == ["[no output]", "156\n"]
    assert "ZeroDivisionError" in told[1][0]
    assert told[2] == []
