"""Bounds of rewards: declared by providers, replaced by the config, kept by every score; inputs that nobody changes."""

from __future__ import annotations

import math
import re

import pytest
import torch

from morl.errors import ConfigError, RewardError
from morl.reward import RewardEntry, RewardScorer
from morl.types import Completion, Prompt

OUTSIDE = [0.0, 1.0, 1.5, -0.25]


def scores_of(provider, completions, **options):
    return RewardScorer({"r": RewardEntry(provider, **options)}).score(completions)


@pytest.mark.parametrize(
    ("policy", "substitute", "dropped"), [("abstain", math.nan, False), ("zero", 0.0, False), ("drop", math.nan, True)]
)
def test_a_score_outside_is_a_failure_of_its_completion(completions, scripted, policy, substitute, dropped):
    provider = scripted(lambda _: OUTSIDE, reward_bounds=(0, 1))
    found = scores_of(provider, completions, on_failure=policy)
    expected = torch.tensor([[0.0], [1.0], [substitute], [substitute]], dtype=torch.float64)
    assert torch.equal(found.values_BK.nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0))
    assert found.failed_BK[:, 0].tolist() == [False, False, True, True]
    assert found.dropped_B.tolist() == [False, False, dropped, dropped]


def test_a_score_outside_can_end_the_run(completions, scripted):
    provider = scripted(lambda _: OUTSIDE, reward_bounds=(0, 1))
    with pytest.raises(RewardError, match=r"failed on 2 of 4 .*the score 1.5 is outside the bounds \[0.0, 1.0\]"):
        scores_of(provider, completions, on_failure="raise")


def test_rounding_and_missing_scores_lie_within(completions, scripted):
    provider = scripted(lambda _: [1.0 + 1e-12, None, -1e-12, math.nan], reward_bounds=(0, 1))
    assert not scores_of(provider, completions).failed_BK.any()


def test_bounds_of_the_config_take_the_place_of_the_providers(completions, scripted):
    provider = scripted(lambda _: OUTSIDE, reward_bounds=(0, 1))
    scorer = RewardScorer({"r": RewardEntry(provider, bounds=(-1, 2))})
    assert scorer.bounds == {"r": (-1.0, 2.0)}
    assert not scorer.score(completions).failed_BK.any()


def test_each_of_several_rewards_has_its_own(completions, scripted):
    def both(_):
        return {"a": OUTSIDE, "b": OUTSIDE}

    provider = scripted(both, reward_names=("a", "b"), reward_bounds={"b": (0, 1)})
    scorer = RewardScorer({"r": RewardEntry(provider)})
    assert scorer.bounds == {"b": (0.0, 1.0)}
    assert scorer.score(completions).failed_BK.tolist() == [[False, False]] * 2 + [[False, True]] * 2
    assert RewardScorer({"r": RewardEntry(provider, bounds={"a": (0, 2)})}).bounds == {"a": (0.0, 2.0), "b": (0.0, 1.0)}
    assert RewardScorer({"r": RewardEntry(provider, bounds=(0, 3))}).bounds == {"a": (0.0, 3.0), "b": (0.0, 3.0)}


@pytest.mark.parametrize(
    ("attributes", "bounds", "fault"),
    [
        ({"reward_bounds": (1, 0)}, None, "reward 'r': `reward_bounds` of Scripted must be [low, high]"),
        ({}, (0, math.inf), "reward 'r': bounds must be [low, high], two finite numbers"),
        ({}, {"s": (0, 1)}, "reward 'r': bounds for unknown reward 's'"),
        ({"reward_names": ("a", "b")}, {"c": (0, 1)}, "bounds for unknown reward 'c'"),
        ({"reward_bounds": (0, 1)}, (2, 3), "bounds [2, 3] contradict [0, 1], which Scripted declares"),
        ({"reward_bounds": (0, 1)}, (-2, -1), "bounds [-2, -1] contradict [0, 1]"),
    ],
)
def test_bounds_that_are_none_are_refused(scripted, attributes, bounds, fault):
    with pytest.raises(ConfigError, match=re.escape(fault)):
        RewardScorer({"r": RewardEntry(scripted(lambda _: OUTSIDE, **attributes), bounds=bounds)})


def test_a_provider_cannot_change_what_others_or_the_next_call_see(scripted):
    prompt = Prompt([{"role": "user", "content": "2+2?"}], {"answer": ["4"]})
    completions = [Completion(prompt, text, (1, 2), info={"seen": []}) for text in ("4", "5")]
    seen = []

    def writes(given):
        for completion in given:
            seen.append((list(completion.prompt.columns["answer"]), list(completion.info["seen"])))
            completion.prompt.columns["answer"].append("5")
            completion.prompt.content[0]["content"] = ""
            completion.info["seen"].append(1)
        return [0.0 for _ in given]

    def reads(given):
        return [float(completion.text in completion.prompt.columns["answer"]) for completion in given]

    scorer = RewardScorer({"writes": RewardEntry(scripted(writes)), "reads": RewardEntry(scripted(reads))})
    for _ in range(2):
        seen.clear()
        assert scorer.score(completions).values_BK[:, 1].tolist() == [1.0, 0.0]
        assert seen[0] == (["4"], [])
    assert (prompt.content[0]["content"], prompt.columns["answer"]) == ("2+2?", ["4"])
