"""An environment that fails in every way, with everything else that a run may do: it is counted, and no more."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from typing import Any, ClassVar

import forks
import pytest
import torch
from attrs import define, field

from morl import hookimpl, train
from morl.types import CompletionStatus, EnvironmentAnswer

ROUNDING = 1e-4
"""Of log-probabilities; see "Limits for rounding" in CONTRIBUTING.md."""
TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
KINDS = ("well", "opens not", "raises", "half raises", "hangs", "nan", "undeclared", "missing", "exits", "well")
FAILURES = {CompletionStatus.ENVIRONMENT_FAILED, CompletionStatus.ENVIRONMENT_TIMEOUT}


@define(eq=False)
class HostileEpisode:
    """Does what the row of its prompt says; a call that hangs does so until the episode is closed."""

    kind: str
    replies: int = 0
    closed: Any = field(factory=threading.Event)
    messages: tuple[dict[str, str], ...] = ({"role": "user", "content": "begin"},)

    def step(self, reply: dict[str, Any]) -> EnvironmentAnswer:
        self.replies += 1
        letters = float(len(reply["content"]))
        if self.replies == 1:
            return EnvironmentAnswer([{"role": "user", "content": "go on"}], rewards={"letters": letters})
        match self.kind:
            case "raises":
                raise ValueError("broken")
            case "half raises" if letters % 2:
                raise OSError("half broken")
            case "hangs":
                self.closed.wait(60)
            case "exits":
                raise SystemExit(3)
            case "nan":
                return EnvironmentAnswer(done=True, rewards={"letters": float("nan")})
            case "undeclared":
                return EnvironmentAnswer(done=True, rewards={"others": 1.0})
            case "missing":
                return EnvironmentAnswer(done=True, rewards={"end": None})
        return EnvironmentAnswer(done=True, rewards={"letters": letters, "end": letters % 3})

    def close(self) -> None:
        Hostile.open_episodes -= not self.closed.is_set()
        self.closed.set()


class Hostile:
    open_episodes: ClassVar[int] = 0
    reward_names = ("letters", "end")

    def open(self, prompt: Any, seed: int) -> HostileEpisode:
        if prompt.columns["does"] == "opens not":
            raise RuntimeError("no room")
        Hostile.open_episodes += 1
        return HostileEpisode(prompt.columns["does"])


class Plugin:
    def __init__(self) -> None:
        self.rollouts: list[Any] = []
        self.rewards: list[Any] = []

    @hookimpl
    def morl_register_environments(self):
        return {"hostile": Hostile}

    @hookimpl
    def morl_rollouts_ready(self, rollouts):
        self.rollouts.append(rollouts)

    @hookimpl
    def morl_advantages_ready(self, rewards, advantages):
        self.rewards.append((rewards, advantages))


@pytest.fixture
def hostile(settings, tmp_path):
    def make(changes=None):
        (tmp_path / "template.jinja").write_text(TEMPLATE)
        rows = [{"prompt": f"the answer is {n}", "does": kind} for n, kind in enumerate(KINDS)]
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        base = {
            "prompts": {"path": str(tmp_path / "prompts.jsonl"), "chat": True},
            "prompts.chat_template": str(tmp_path / "template.jinja"),
            "rewards": {"vowel": {"name": "regex", "pattern": "[ae]", "weight": 0.5}},
            "environment": {"name": "hostile", "patience": None, "timeout": 1.0},
            # Every fifth token ends a turn, so that a policy that has learned nothing speaks in turns.
            "sampling": {"max_tokens": 6, "stop_token_ids": [*range(0, 290, 5)]},
            "training": {"steps": 2, "prompts_per_step": len(KINDS), "group_size": 4, "checkpoint_every": 1},
        }
        return settings({**base, **(changes or {})})

    return make


def check(plugin: Plugin, rows: list[dict[str, str]], on_failure: str) -> None:
    """What each conversation came to, and what the rewards of it are."""
    assert Hostile.open_episodes == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("morl-environment")]
    seen = {status for rollouts in plugin.rollouts for status in rollouts.statuses}
    assert seen >= FAILURES | {CompletionStatus.COMPLETED}
    for rollouts, (rewards, advantages) in zip(plugin.rollouts, plugin.rewards, strict=True):
        names = [*rewards.names]
        end, vowel = names.index("end"), names.index("vowel")
        for row, (status, group) in enumerate(zip(rollouts.statuses, rollouts.group_ids_B.tolist(), strict=True)):
            kind = rollouts.prompts[group].prompt.columns["does"]
            failed = status in FAILURES
            if kind in ("well", "missing"):
                assert not failed, kind
            if kind == "opens not":
                assert failed
            if status is CompletionStatus.COMPLETED:
                assert kind in ("well", "missing", "half raises"), kind
            values = rewards.values_BK[row]
            if failed:
                assert torch.isnan(values[end]) == (on_failure != "zero")
                said = on_failure == "zero" and bool(rollouts.turns[row])
                assert torch.isnan(values[vowel]) != said
            if failed and on_failure != "zero":
                assert advantages.values_B[row] == 0
        assert torch.isfinite(advantages.values_B).all()
    for row in rows:
        assert float(row["rollout/logprob_difference_max"]) < ROUNDING
        shares = [float(value) for name, value in row.items() if name.startswith("conversation/status/") and value]
        assert sum(shares) == pytest.approx(1.0)
        assert float(row["reward/end/failed"]) > 0


@pytest.mark.parametrize(
    ("on_failure", "changes"),
    [
        ("abstain", {"rollout.lag": 1, "training.steps": 3}),
        ("zero", {}),
        ("drop", {"estimator": {"name": "grpo"}}),
    ],
    ids=["abstain-lag", "zero", "drop-grpo"],
)
def test_everything_that_fails_is_counted_and_nothing_is_learned_from_it(hostile, rows_of, on_failure, changes):
    plugin = Plugin()
    result = train(hostile({"environment.on_failure": on_failure, **changes}), plugins=[plugin])
    check(plugin, rows_of(result), on_failure)


def test_dynamic_sampling_takes_no_group_in_which_all_failed(hostile, rows_of):
    plugin = Plugin()
    changes = {"training.dynamic_sampling_rounds": 3, "training.prompts_per_step": 3}
    for row in rows_of(train(hostile(changes), plugins=[plugin])):
        assert float(row["rollout/logprob_difference_max"]) < ROUNDING
    assert Hostile.open_episodes == 0
    for _, advantages in plugin.rewards:
        assert torch.isfinite(advantages.values_B).all()
        assert advantages.values_B.view(-1, 4).abs().sum(1).gt(0).any()


@pytest.mark.parametrize("lag", [0, 1])
def test_a_resumed_run_has_the_bits_of_a_whole_one(hostile, weights_of, same_bits, tmp_path, lag):
    changes = {"rollout.lag": lag, "training.prompts_per_step": 5, "training.steps": 3, "training.keep_checkpoints": 9}
    whole, rest = Plugin(), Plugin()
    one = train(hostile(changes), plugins=[whole])
    resumed = tmp_path / "resumed"
    shutil.copytree(one.folder, resumed)
    shutil.rmtree(resumed / "model")
    for step in (2, 3):
        (resumed / "checkpoints" / f"step-{step:06d}.ckpt").unlink()
    other = train(hostile({**changes, "output": str(resumed)}), plugins=[rest], resume=True)
    assert same_bits(weights_of(one.model), weights_of(other.model))
    assert [each.statuses for each in whole.rollouts[-2:]] == [each.statuses for each in rest.rollouts[-2:]]


@pytest.mark.slow
def test_two_ranks_have_the_weights_of_one(hostile, difference, tmp_path):
    config = hostile({"training.samples_every": 0, "environment.timeout": 10.0})
    one = train(config, plugins=[Plugin()])
    config |= {"output": str(tmp_path / "two")}
    config["trainer"] |= {"devices": 2, "strategy": "ddp"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = forks.run([__file__, tmp_path / "config.json"], tmp_path, ranks=2)
    assert done.returncode == 0, done.output
    assert difference(one.model, tmp_path / "two" / "model") < ROUNDING


if __name__ == "__main__":  # a run of several ranks
    with open(sys.argv[1]) as file:
        train(json.load(file), plugins=[Plugin()])
