"""A run with rewards of turns under `turn-level`: each turn is pushed by what was given for it."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest
import torch
from attrs import define

from morl import hookimpl, train
from morl.errors import ConfigError
from morl.report.replay import replay
from morl.report.view import read_view
from morl.types import EnvironmentAnswer

TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


@define(eq=False)
class Dialogue:
    """Two turns; `letters` is given for each, `even` with the last for the whole."""

    said: int = 0
    total: int = 0

    def step(self, reply):
        self.said += 1
        self.total += len(reply["content"])
        done = self.said == 2
        rewards = {"letters": float(len(reply["content"])), **({"even": float(self.total % 2)} if done else {})}
        return EnvironmentAnswer([] if done else [{"role": "user", "content": "go on"}], done=done, rewards=rewards)

    def close(self):
        pass


class Dialogues:
    reward_names = ("letters", "even")

    def open(self, prompt, seed):
        return Dialogue()


class Plugin:
    def __init__(self):
        self.seen = []

    @hookimpl
    def morl_register_environments(self):
        return {"dialogue": Dialogues}

    @hookimpl
    def morl_advantages_ready(self, rewards, advantages):
        self.seen.append((rewards, advantages))


def z(values):
    """Standardised over those that there are, ddof 1; 0 where nothing varies."""
    there = np.array([value for value in values if value is not None])
    if len(there) < 2 or np.ptp(there) == 0:
        return [0.0] * len(values)
    return [0.0 if value is None else (value - there.mean()) / there.std(ddof=1) for value in values]


def by_hand(rewards):
    """(row, turn) -> its advantage: z of `even` over the group, z of `letters` over the turns of one number in it."""
    groups = defaultdict(list)
    for row, group in enumerate(rewards.group_ids_B.tolist()):
        groups[group].append(row)
    even = rewards.names.index("even")
    found = {}
    for rows in groups.values():
        values, valid = rewards.values_BK[rows, even].tolist(), rewards.valid_BK[rows, even].tolist()
        whole = z([value if there else None for value, there in zip(values, valid, strict=True)])
        for turn in range(2):
            given = [
                rewards.turn_rewards[row][turn].get("letters") if turn < len(rewards.turn_rewards[row]) else None
                for row in rows
            ]
            for row, of_turn, of_whole in zip(rows, z(given), whole, strict=True):
                found[row, turn] = of_turn + of_whole
    return found


@pytest.mark.slow
def test_a_run_of_two_turns(settings, tmp_path, rows_of):
    (tmp_path / "template.jinja").write_text(TEMPLATE)
    chats = tmp_path / "chats.jsonl"
    chats.write_text("".join(json.dumps({"prompt": f"the answer is {n}"}) + "\n" for n in range(12)))
    plugin = Plugin()
    changes = {
        "prompts": {"path": str(chats), "chat": True, "chat_template": str(tmp_path / "template.jinja")},
        "rewards": {},
        "environment": {"name": "dialogue", "patience": None},
        "estimator": {"name": "turn-level", "whole": ["even"]},
        "sampling": {"max_tokens": 6, "stop_token_ids": [*range(0, 290, 5)]},
        "training": {"steps": 2, "prompts_per_step": 4, "group_size": 4},
    }
    result = train(settings(changes), plugins=[plugin])
    apart = 0
    for rewards, advantages in plugin.seen:
        expected = by_hand(rewards)
        for row, turns in enumerate(rewards.spans):
            for turn, (start, end) in enumerate(turns):
                got = advantages.values_BT[row, start:end]
                torch.testing.assert_close(got, torch.full_like(got, expected[row, turn]), rtol=0, atol=1e-5)
            apart += len(turns) == 2 and abs(expected[row, 0] - expected[row, 1]) > 0.1
    assert apart > 4  # completions whose two turns are pushed differently
    view = read_view(result.folder)
    step = view.samples(1)
    own, again = replay(view, step, None, {}).found
    torch.testing.assert_close(own.values_B, again.values_B, rtol=0, atol=1e-9)
    expected = by_hand(plugin.seen[0][0])
    for row, sample in enumerate(step.samples):
        assert sample.turn_advantages == pytest.approx([expected[row, turn] for turn in range(len(sample.turns))])
    for row in rows_of(result):
        assert float(row["conversation/turns"]) > 1
        assert float(row["optimizer/grad_norm"]) > 0


def test_turns_are_refused_where_every_completion_is_one(settings):
    """With one turn the answer would be that of mo-grpo, and nobody would have asked for it."""
    for chosen in ("turn-level", "conditioned-turn-level"):
        options = {"conditions": {"short": {"on": "vowel"}}} if chosen.startswith("conditioned") else {}
        with pytest.raises(ConfigError, match=f"estimator {chosen} tells the turns .* there is no environment;"):
            train(settings({"estimator": {"name": chosen, **options}}))
    single = {"environment": {"name": "dialogue", "max_turns": 1}, "estimator": {"name": "turn-level"}}
    with pytest.raises(ConfigError, match=r"environment\.max_turns is 1; add an environment of several"):
        train(settings(single), plugins=[Plugin()])
