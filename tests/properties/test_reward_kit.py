"""The kit of rewards: the right pass, and each known fault is caught."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define
from catching import caught

from morl.reward import FunctionReward
from morl.reward.text import ExactMatchReward, LengthReward, RegexReward, TagsReward
from morl.testing import check_reward_provider, rewards
from morl.types import Completion, Prompt

PROMPT = Prompt("Say it.", {"answer": "yes", "numbers": [1, 2]})
COMPLETIONS = [Completion(PROMPT, text, tuple(range(len(text)))) for text in ("", "yes", "a <b>c</b>", "no no no")]


def vowels(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(sum(letter in "aeiou" for letter in text)) for text in completions]


class Several:
    reward_names = ("long", "short")
    reward_bounds = {"short": (0, 1)}  # noqa: RUF012 - an example of what authors write

    async def score(self, completions):
        lengths = [len(completion.text) for completion in completions]
        return {"long": lengths, "short": [1.0 / (1 + length) for length in lengths]}


@pytest.mark.parametrize(
    "make",
    [
        lambda: RegexReward("a"),
        lambda: TagsReward(["b"]),
        lambda: LengthReward(5),
        lambda: ExactMatchReward("answer"),
        lambda: FunctionReward(vowels),
        Several,
    ],
    ids=["regex", "tags", "length", "exact-match", "function", "several"],
)
def test_right_rewards_pass(make):
    check_reward_provider(make, COMPLETIONS)


def provider(score, **attributes):
    return lambda: type("Faulty", (), {"score": lambda self, completions: score(completions), **attributes})()


def fills_in(completions):
    for completion in completions:
        completion.prompt.columns["numbers"].append(3)
    return [0.0 for _ in completions]


@define
class Counts:
    calls: int = 0

    def score(self, completions):
        self.calls += 1
        return [float(self.calls) for _ in completions]


class CountsUnsaved(Counts):
    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = 0


class Shared:
    """Keeps what belongs to one call in itself."""

    def score(self, completions):
        import time

        self.scores = []
        for completion in completions:
            time.sleep(0.001)
            self.scores.append(float(len(completion.text)))
        return self.scores


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (provider(lambda c: [0.0] * len(c), reward_bounds=(1, 0)), "declared"),
        (provider(lambda c: [0.0] * len(c), required_columns=("absent",)), "declared"),
        (provider(lambda c: [0.0] * len(c), reward_names="abc"), "declared"),
        (provider(lambda c: [0.0]), "form"),
        (provider(lambda c: [1 / len(x.text) for x in c]), "form"),
        (provider(lambda c: ["good" for _ in c]), "form"),
        (provider(lambda c: [ValueError("no") for _ in c]), "form"),
        (provider(lambda c: [float(len(x.text)) for x in c], reward_bounds=(0, 3)), "bounds"),
        (provider(fills_in), "pure"),
        (Counts, "repeatable"),
        (provider(lambda c: [float(row) for row, _ in enumerate(c)]), "order"),
        (provider(lambda c: [float(len(c)) for _ in c]), "alone"),
        (Shared, "threads"),
        (CountsUnsaved, "state"),
    ],
)
def test_a_faulty_reward_is_caught(make, law):
    caught(check_reward_provider, rewards.LAWS, law, make, COMPLETIONS)


def test_completions_that_would_show_little_are_refused():
    for few in (COMPLETIONS[:1], COMPLETIONS[1:]):
        with pytest.raises(ValueError, match="two or more completions, one of them with an empty text"):
            check_reward_provider(Several, few)
