"""Advantages of turns: a hand-worked conversation, the laws, and how rewards of turns reach the estimator."""

from __future__ import annotations

import pytest
import torch

from morl.advantage import Conditioned
from morl.errors import ConfigError
from morl.testing import check_advantage_estimator
from morl.types import RewardMatrix
from morl_estimators import MOGRPO, TurnLevel

HALF = 0.5**0.5


def conversation(**changes):
    """Two completions, of two turns and of three; `found` is given for turns, `solved` for the whole."""
    given = {
        "values_BK": torch.tensor([[1.0, 0.0], [2.0, 1.0]], dtype=torch.float64),
        "group_ids_B": torch.tensor([7, 7]),
        "names": ("found", "solved"),
        "weights": {"found": 2.0},
        "spans": (((0, 1), (2, 4)), ((0, 2), (3, 4), (5, 6))),
        "turn_rewards": (({"found": 1.0}, {"found": 0.0}), ({"found": 0.0}, {"found": 1.0}, {"found": 1.0})),
    }
    return RewardMatrix(**{**given, **changes})


def test_each_turn_bears_its_own_reward_and_that_of_the_whole():
    """First turns: found 1 against 0; second turns: 0 against 1; the third has nothing to be compared with."""
    answer = TurnLevel()(conversation())
    first, second = [HALF * x for x in (2 - 1, -2 - 1)], [HALF * x for x in (-2 + 1, 2 + 1, 0 + 1)]
    expected = torch.zeros(2, 6, dtype=torch.float64)
    expected[0, 0], expected[0, 2:4] = first[0], first[1]
    expected[1, 0:2], expected[1, 3], expected[1, 5] = second[0], second[1], second[2]
    torch.testing.assert_close(answer.values_BT, expected)
    means = [(first[0] + 2 * first[1]) / 3, (2 * second[0] + second[1] + second[2]) / 4]
    torch.testing.assert_close(answer.values_B, torch.tensor(means, dtype=torch.float64))


def test_later_turns_count_for_earlier_ones_by_the_discount():
    answer = TurnLevel(discount=0.5)(conversation(weights={"solved": 0.0}))
    found = [HALF * (1 - 0.5), -HALF], [HALF * (-1 + 0.5), HALF, 0.0]
    expected = torch.tensor([[found[0][0], 0, found[0][1], found[0][1], 0, 0],
                             [found[1][0], found[1][0], 0, found[1][1], 0, 0]], dtype=torch.float64)  # fmt: skip
    torch.testing.assert_close(answer.values_BT, expected)


def test_without_rewards_of_turns_it_is_mo_grpo():
    rewards = conversation(turn_rewards=None)
    answer, expected = TurnLevel()(rewards), MOGRPO()(rewards)
    torch.testing.assert_close(answer.values_B, expected.values_B)
    mask_BT = rewards.sampled_mask_BT
    torch.testing.assert_close(answer.values_BT[mask_BT], (expected.values_B[:, None] * mask_BT)[mask_BT])


def test_it_keeps_the_laws():
    check_advantage_estimator(TurnLevel, claims=["shift"], max_examples=15)
    check_advantage_estimator(lambda: TurnLevel(discount=0.5), max_examples=10)


def test_a_condition_takes_rewards_of_turns_along():
    seen = Conditioned(TurnLevel(), {"found": {"on": "solved"}}).transform(conversation())
    assert seen.turn_rewards == (({}, {}), ({"found": 0.0}, {"found": 1.0}, {"found": 1.0}))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="discount of turn-level must be at most 1; got"):
        TurnLevel(discount=1.5)
    with pytest.raises(ConfigError, match="needs to know where the turns of completions lie"):
        TurnLevel()(conversation(spans=None, turn_rewards=None))
    with pytest.raises(ValueError, match="turn_rewards must have an entry for each turn that spans has"):
        conversation(turn_rewards=(({},), ({}, {}, {})))


def test_a_reward_that_arrives_with_a_turn_may_be_one_of_the_whole():
    """As if no turn had been given it: what the last answer of an environment brings counts for every turn."""
    given = (
        ({"found": 1.0}, {"found": 0.0, "solved": 0.0}),
        ({"found": 0.0}, {"found": 1.0}, {"found": 1.0, "solved": 1.0}),
    )
    expected = TurnLevel()(conversation()).values_BT
    assert torch.equal(TurnLevel(whole=["solved"])(conversation(turn_rewards=given)).values_BT, expected)
    assert not torch.equal(TurnLevel()(conversation(turn_rewards=given)).values_BT, expected)
    with pytest.raises(ConfigError, match=r"whole of turn-level: no reward 'solvd'; did you mean 'solved'\?"):
        TurnLevel(whole=["solvd"]).check_rewards(("found", "solved"))
