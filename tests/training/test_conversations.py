"""Conversations in runs: what is sampled in several turns is what is learned from, whatever else a config asks for."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from typing import ClassVar

import forks
import pytest
import torch
from attrs import define, field
from rich.console import Console

from morl import hookimpl, train
from morl.evaluation.run import evaluate_model
from morl.training.callbacks.display import LiveDisplay
from morl.types import EnvironmentAnswer

ROUNDING = 1e-4
"""Of log-probabilities; see "Limits for rounding" in CONTRIBUTING.md."""
TEMPLATE = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}"
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<eos>{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)


@define(eq=False)
class CountdownEpisode:
    """Says something of the user's after each reply, as often as the seed has it."""

    turns: int
    columns: dict
    said: list = field(factory=list)
    messages: tuple = ({"role": "user", "content": "begin"},)

    def step(self, reply):
        self.said.append(reply["content"])
        left = self.turns - len(self.said)
        words = sum(len(text) for text in self.said)
        return EnvironmentAnswer(
            [] if left == 0 else [{"role": "user", "content": f"{left} left, {words} letters"}],
            done=left == 0,
            rewards={"letters": float(len(reply["content"])), **({"even": float(words % 2 == 0)} if left == 0 else {})},
        )

    def close(self):
        Countdown.open_episodes -= 1


@define(eq=False)
class Countdown:
    open_episodes: ClassVar[int] = 0
    closed: ClassVar[int] = 0
    reward_names: ClassVar = ("letters", "even")
    opened: int = field(init=False, default=0)

    def open(self, prompt, seed):
        Countdown.open_episodes += 1
        self.opened += 1
        return CountdownEpisode(1 + seed % 3, prompt.columns)

    def state_dict(self):
        return {"opened": self.opened}

    def load_state_dict(self, state):
        self.opened = state["opened"]

    def close(self):
        Countdown.closed += 1


class Plugin:
    @hookimpl
    def morl_register_environments(self):
        return {"countdown": Countdown}

    def __init__(self):
        self.batches = []

    @hookimpl
    def morl_rollouts_ready(self, rollouts):
        self.rollouts = rollouts
        self.batches.append(rollouts)

    @hookimpl
    def morl_advantages_ready(self, rewards, advantages):
        self.rewards, self.advantages = rewards, advantages


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chats")
    (folder / "template.jinja").write_text(TEMPLATE)
    drawn = [{"temperature": 0.5 + n % 3, "max_tokens": 3 + n % 4} for n in range(20)]
    rows = [{"prompt": f"the answer is {n}", "answer": str(n), "drawn": drawn[n]} for n in range(20)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def conversing(settings, chats):
    def make(changes=None):
        base = {
            "prompts": {
                "path": str(chats / "prompts.jsonl"),
                "chat": True,
                "chat_template": str(chats / "template.jinja"),
            },
            "rewards": {"vowel": {"name": "regex", "pattern": "[ae]", "weight": 0.5}},
            "environment": {"name": "countdown", "patience": None},
            # Every fifth token ends a turn, so that a policy that has learned nothing speaks in turns.
            "sampling": {"max_tokens": 6, "stop_token_ids": [*range(0, 290, 5)]},
            "training": {
                "steps": 2,
                "prompts_per_step": 4,
                "group_size": 3,
                "checkpoint_every": 1,
                "keep_checkpoints": 9,
            },
        }
        return settings({**base, **(changes or {})})

    return make


def test_what_is_learned_from_is_what_was_sampled(conversing, rows_of):
    """Several turns, foreign tokens between them, and the update's forward pass agrees with sampling on every token."""
    plugin = Plugin()
    result = train(conversing(), plugins=[plugin])
    rollouts = plugin.rollouts
    assert Countdown.open_episodes == 0
    assert {len(turns) for turns in rollouts.turns} >= {2, 3}
    assert {"completed", "truncated"} <= {*rollouts.statuses}
    assert (rollouts.total_lengths_B > rollouts.lengths_B).any()
    for row in rows_of(result):
        assert float(row["rollout/logprob_difference_max"]) < ROUNDING
        assert float(row["conversation/turns"]) > 1


@pytest.mark.parametrize("lag", [0, 1])
def test_turns_are_drawn_by_the_settings_of_their_rows(conversing, rows_of, lag):
    """Each turn has the limit of its row, and log-probabilities those of its temperature."""
    plugin = Plugin()
    result = train(conversing({"sampling.overrides_column": "drawn", "rollout.lag": lag}), plugins=[plugin])
    for rollouts in plugin.batches:
        for group, turns in zip(rollouts.group_ids_B.tolist(), rollouts.turns, strict=True):
            limit = rollouts.prompts[group].prompt.columns["drawn"]["max_tokens"]
            assert all(turn.length <= limit for turn in turns)
    for row in rows_of(result):
        assert float(row["rollout/logprob_difference_max"]) < ROUNDING
        assert float(row["conversation/turns"]) > 1


def test_every_reply_is_held_to_the_language(conversing, rows_of, tiny_model):
    pytest.importorskip("llguidance", reason="llguidance is not installed: pip install 'morl-llm[structured]'")
    from transformers import AutoTokenizer

    tokenizer, plugin = AutoTokenizer.from_pretrained(tiny_model), Plugin()
    result = train(conversing({"sampling": {"max_tokens": 12, "regex": "(yes|no) [0-9]"}}), plugins=[plugin])
    said = []
    for rollouts in plugin.batches:
        for ids, turns in zip(rollouts.completion_ids_BT, rollouts.turns, strict=True):
            said += [tokenizer.decode(ids[turn.start : turn.end], skip_special_tokens=True) for turn in turns]
    assert all(re.fullmatch("(yes|no) [0-9]", text) for text in said), said
    assert len({*said}) > 5
    assert all(float(row["conversation/turns"]) > 1 for row in rows_of(result))
    assert all(float(row["rollout/logprob_difference_max"]) < ROUNDING for row in rows_of(result))


def same_samples(one, other):
    for first, second in zip(one, other, strict=True):
        assert torch.equal(first.completion_ids_BT, second.completion_ids_BT)
        assert torch.equal(first.sampled_mask_BT, second.sampled_mask_BT)
        assert torch.equal(first.rollout_logprobs_BT, second.rollout_logprobs_BT)
        assert first.statuses == second.statuses


@pytest.mark.parametrize(
    "changes",
    [
        {"rollout.lag": 1, "training.steps": 3},
        {"training.dynamic_sampling_rounds": 3},
        {"policy.lora": {"rank": 4}, "loss.kl_coef": 0.1},
        {"estimator.name": "conditioned-gdpo", "estimator.conditions": {"letters": {"on": "vowel"}}},
        {"environment.weight": {"even": 2.0}, "environment.bounds": {"even": [0, 1]}, "policy.attention": "padded"},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_conversations_go_with_everything_else(conversing, rows_of, changes):
    plugin = Plugin()
    for row in rows_of(train(conversing(changes), plugins=[plugin])):
        assert float(row["rollout/logprob_difference_max"]) < ROUNDING
        assert float(row["conversation/turns"]) > 1
    assert Countdown.open_episodes == 0


@pytest.mark.parametrize("lag", [0, 1])
def test_a_resumed_run_has_the_bits_of_a_whole_one(conversing, weights_of, same_bits, tmp_path, lag):
    changes = {"rollout.lag": lag, "training.steps": 3}
    whole, rest = Plugin(), Plugin()
    one = train(conversing(changes), plugins=[whole])
    resumed = tmp_path / "resumed"
    shutil.copytree(one.folder, resumed)
    shutil.rmtree(resumed / "model")
    for step in (2, 3):
        (resumed / "checkpoints" / f"step-{step:06d}.ckpt").unlink()
    other = train(conversing({**changes, "output": str(resumed)}), plugins=[rest], resume=True)
    same_samples(whole.batches[1:], rest.batches)
    assert same_bits(weights_of(one.model), weights_of(other.model))


def test_the_state_of_an_environment_is_in_the_checkpoint(conversing, tmp_path):
    first, second = Countdown(), Countdown()

    def of(environment):
        class Plugin:
            @hookimpl
            def morl_register_environments(self):
                return {"kept": lambda: environment}

        return Plugin()

    train(conversing({"environment.name": "kept"}), plugins=[of(first)])
    train(conversing({"environment.name": "kept", "training.steps": 3}), plugins=[of(second)], resume=True)
    assert (first.opened, second.opened) == (24, 36)


def test_held_out_prompts_are_conversations_too(conversing, chats):
    prompts = {"path": str(chats / "prompts.jsonl"), "limit": 10}
    config = conversing({"evaluation": {"prompts": prompts, "samples": 2}, "training.steps": 1})
    before = Countdown.closed
    result = train(config, plugins=[Plugin()])
    metrics = result.evaluations[0]
    assert {"letters", "even", "vowel"} <= {*metrics}
    evaluated = evaluate_model(config, str(result.model), keep_samples=True, plugins=[Plugin()])
    after = result.evaluations[1]
    assert evaluated.figures.rewards["letters"].mean.mean == pytest.approx(after["letters"])
    assert any(len(row["turns"]) > 1 for row in evaluated.samples)
    assert Countdown.closed == before + 2


def test_the_game_of_the_example_plugin(conversing):
    guess = {"name": "guess", "highest": 3, "weight": {"brief": 0.5}, "max_turns": 4}
    result = train(conversing({"environment": guess, "rewards": {}, "training.samples_every": 1}))
    assert result.rewards == ("found", "brief")
    rows = [json.loads(line) for line in (result.folder / "samples" / "step-000001.jsonl").read_text().splitlines()]
    # Limits of the run, too, leave a reward: it is known at the end only.
    assert all(row["rewards"]["found"] in (0.0, 1.0) for row in rows)
    assert {row["rewards"]["brief"] is None for row in rows if row["rewards"]["found"] == 0.0} == {True}
    assert any(len(row["turns"]) > 1 for row in rows)
    assert "Guess my number, 1 to 3" in rows[0]["prompt"]


def test_the_display_shows_turns_and_how_conversations_ended(conversing):
    console = Console(file=io.StringIO(), width=400)
    train(conversing({"trainer.progress": True}), plugins=[Plugin()], callbacks=[LiveDisplay(console)])
    line = next(line for line in console.file.getvalue().splitlines() if "step 1/2" in line)
    assert re.search(
        r"turns 1\.\d, calls 0\.0 \(0\.0 failed\), environment [1-9]\d*\.\d tokens in \d+\.\d\d s,", line
    ), line
    assert re.search(r" s, completed \d+%, truncated \d+%", line), line


@pytest.mark.slow
def test_two_ranks_have_the_weights_of_one(conversing, difference, tmp_path):
    config = conversing({"training.samples_every": 0})
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
