"""What enters from an estimator: checked, named, copied; and which groups have signal."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from hypothesis import given

from morl.advantage import GDPO, GRPO, Conditioned, GRPONoStd
from morl.errors import ConfigError, PluginError
from morl.testing import reward_matrices
from morl.training.advantages import ask_estimator, with_signal
from morl.types import Advantages, RewardMatrix

REWARDS = RewardMatrix.from_groups(torch.tensor([[[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda r: r.values_BK[:, 0], "returned Tensor; expected morl.types.Advantages"),
        (lambda r: None, "returned NoneType"),
        (lambda r: (r.values_BK[:, 0], r.values_BK), "returned tuple"),
        (lambda r: 1 / 0, "failed: ZeroDivisionError: division by zero"),
        (lambda r: sys.exit(0), "failed: SystemExit: 0"),
        (lambda r: Advantages(r.values_BK.sum(1).long(), r.values_BK.long()), "values_B of type torch.int64"),
        (lambda r: Advantages(r.values_BK.sum(1), r.values_BK + 0j), "contributions_BK of type torch.complex128"),
        (lambda r: Advantages(r.values_BK.sum(1), r.values_BK, r.values_BK > 0), "values_BT of type torch.bool"),
        (lambda r: Advantages([1.0, 2.0, 3.0], r.values_BK), "values_B as list"),
        (lambda r: Advantages(r.values_BK[:2, 0], r.values_BK), "values_B of shape (2,)"),
        (lambda r: Advantages(r.values_BK[:, 0], r.values_BK[:, :1]), "contributions_BK of shape (3, 1)"),
        (lambda r: Advantages(r.values_BK[:, 0] / 0, r.values_BK), "values that are not finite"),
        (lambda r: Advantages(r.values_BK.sum(1) * 1.001, r.values_BK), "do not add up to its advantages"),
        (lambda r: Advantages(r.values_BK.sum(1), r.values_BK, r.values_BK[:, :1]), "values_BT of shape (3, 1)"),
        (lambda r: Advantages(r.values_BK.sum(1), r.values_BK, r.values_BK[:, 0]), "values_BT of shape (3,)"),
        (
            lambda r: Advantages(r.values_BK.sum(1), r.values_BK, r.values_BK / 0),
            "with finite numbers where it is True",
        ),
        (lambda r: Advantages(r.values_BK.sum(1), r.values_BK, [[0.0, 0.0]] * 3), "values_BT as list"),
    ],
)
def test_an_answer_that_is_none_is_refused_by_name(answer, fault):
    spans = (((0, 2),), ((0, 1),), ((0, 2),))
    rewards = RewardMatrix(REWARDS.values_BK, REWARDS.group_ids_B, REWARDS.names, spans=spans)
    with pytest.raises(PluginError, match=f"^estimator 'x' of morl-x {re.escape(fault)}|{re.escape(fault)}") as caught:
        ask_estimator(answer, rewards, "estimator 'x' of morl-x")
    assert str(caught.value).startswith("estimator 'x' of morl-x ")


def test_an_error_in_the_input_keeps_its_kind_and_gains_a_name():
    conditioned = Conditioned(GDPO(), {"absent": {"on": "r0"}})
    with pytest.raises(ConfigError, match=r"^mine: conditions: unknown reward 'absent'"):
        ask_estimator(conditioned, REWARDS, "mine")


@pytest.mark.parametrize("estimator", [GRPO(), GRPONoStd(), GDPO(), GDPO(batch_norm=False)], ids=lambda e: repr(e)[:12])
@given(rewards=reward_matrices(values="decimals", dtypes=(torch.float64, torch.float32, torch.bfloat16)))
def test_what_is_right_up_to_rounding_is_let_in(estimator, rewards):
    """Rewards of 1e8 that differ by 0.1 among them: their sums cancel on paper, and not in a narrow dtype."""
    answer = ask_estimator(estimator, rewards)
    assert torch.equal(answer.values_B, estimator(rewards).values_B)


def test_advantages_of_tokens_are_let_in():
    spans = (((0, 1), (3, 5)), ((0, 2),), ((0, 2),))
    rewards = RewardMatrix(REWARDS.values_BK, REWARDS.group_ids_B, REWARDS.names, spans=spans)
    values_BT = torch.where(rewards.sampled_mask_BT, 1.0, torch.nan)
    answer = Advantages(rewards.values_BK.sum(1), rewards.values_BK, values_BT)
    assert ask_estimator(lambda rewards: answer, rewards).values_BT.shape == (3, 5)


def test_an_estimator_can_change_neither_its_input_nor_its_answer_afterwards():
    kept = []

    def scribbles(rewards):
        answer = GRPONoStd()(rewards)
        rewards.values_BK.fill_(9.0)
        rewards.valid_BK.fill_(False)
        rewards.group_ids_B.fill_(0)
        rewards.lengths_B.fill_(0)
        rewards.weights["r0"] = 5.0
        kept.append(answer)
        return answer

    rewards = RewardMatrix(
        REWARDS.values_BK.clone(), REWARDS.group_ids_B.clone(), REWARDS.names, {"r0": 1.0}, lengths_B=torch.ones(3)
    )
    answer = ask_estimator(scribbles, rewards)
    expected = answer.values_B.clone()
    kept[0].values_B.fill_(7.0)
    kept[0].contributions_BK.fill_(7.0)
    assert torch.equal(answer.values_B, expected)
    assert torch.equal(rewards.values_BK, REWARDS.values_BK)
    assert rewards.valid_BK.all()
    assert rewards.lengths_B.all()
    assert rewards.weights == {"r0": 1.0}


NAN = float("nan")


@pytest.mark.parametrize(
    ("group", "weights", "expected"),
    [
        ([[0.0, 5.0], [1.0, 5.0]], {}, True),
        ([[1.0, 5.0], [1.0, 5.0]], {}, False),
        ([[0.0, 5.0], [1.0, 5.0]], {"r0": 0.0}, False),
        ([[0.0, 1.0], [1.0, 0.0]], {}, True),  # they cancel
        ([[NAN, 1.0], [1.0, 1.0]], {}, False),
        ([[NAN, NAN], [NAN, NAN]], {}, False),
    ],
)
@pytest.mark.parametrize("estimator", [GRPO(), GRPONoStd(), GDPO(), lambda rewards: None], ids=lambda e: repr(e)[:12])
def test_a_group_has_signal_where_a_weighted_valid_reward_varies(estimator, group, weights, expected):
    live = [[0.0, 5.0], [1.0, 6.0]]
    for groups in ([group], [live, group], [group, live]):
        rewards = RewardMatrix.from_groups(torch.tensor(groups, dtype=torch.float64), weights=weights)
        found = with_signal(estimator, rewards).tolist()
        assert found[groups.index(group)] is expected, "whatever the other groups are"


def test_signal_is_asked_of_the_rewards_as_the_estimator_sees_them():
    values = torch.tensor([[[0.0, 1.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 2.0]]], dtype=torch.float64)
    rewards = RewardMatrix.from_groups(values, ("right", "short"))
    assert with_signal(GDPO(), rewards).tolist() == [True, True]
    conditioned = Conditioned(GDPO(), {"short": {"on": "right"}})
    assert with_signal(conditioned, rewards).tolist() == [False, True]


def test_signal_follows_the_weights_of_a_weighting():
    rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 1.0], [1.0, 1.0]]], dtype=torch.float64))
    assert with_signal(GDPO(weighting=lambda r: torch.tensor([0.0, 1.0])), rewards).tolist() == [False]
    assert with_signal(GDPO(weighting=lambda r: torch.tensor([[0.0, 1.0], [1.0, 1.0]])), rewards).tolist() == [True]


def test_batches_that_the_batch_normalisation_zeroes_keep_their_signal():
    rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64))
    assert not GDPO()(rewards).contributions_BK.any()
    assert with_signal(GDPO(), rewards).tolist() == [True]
