"""Conversations in runs: what is sampled in several turns is what is learned from, whatever else a config asks for."""

from __future__ import annotations

import json

import pytest
from attrs import define, field, frozen

from morl import hookimpl, train
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


@frozen
class Countdown:
    open_episodes = 0
    reward_names = ("letters", "even")

    def open(self, prompt, seed):
        Countdown.open_episodes += 1
        return CountdownEpisode(1 + seed % 3, prompt.columns)


class Plugin:
    @hookimpl
    def morl_register_environments(self):
        return {"countdown": Countdown}

    @hookimpl
    def morl_rollouts_ready(self, rollouts):
        self.rollouts = rollouts

    @hookimpl
    def morl_advantages_ready(self, rewards, advantages):
        self.rewards, self.advantages = rewards, advantages


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chats")
    (folder / "template.jinja").write_text(TEMPLATE)
    rows = [{"prompt": f"the answer is {n}", "answer": str(n)} for n in range(20)]
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
            "training": {"steps": 2, "prompts_per_step": 4, "group_size": 3, "checkpoint_every": 1, "samples_every": 1},
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
