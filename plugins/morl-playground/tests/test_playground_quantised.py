"""The estimator of the studies has GRPO's partition and GDPO's scale, and obeys the laws of every estimator."""

from __future__ import annotations

import pytest
import torch

from morl.advantage import GDPO, GRPO, GRPONoStd
from morl.testing import check_advantage_estimator
from morl.types import RewardMatrix
from morl_playground.quantised import BatchStdWeighting, QuantisedGDPO


def test_it_obeys_the_laws():
    check_advantage_estimator(QuantisedGDPO, claims=["zero-mean"], max_examples=15)


@pytest.fixture
def rewards() -> RewardMatrix:
    """Sixteen groups of eight completions with three binary rewards of unequal difficulty."""
    generator = torch.Generator().manual_seed(0)
    values = (torch.rand(16, 8, 3, generator=generator) < torch.tensor([0.2, 0.5, 0.8])).double()
    return RewardMatrix.from_groups(values)


def by_group(estimator, rewards: RewardMatrix) -> torch.Tensor:
    return estimator(rewards).values_B.view(16, 8)


def test_completions_are_told_apart_as_grpo_does(rewards):
    for coarse, grpo in zip(by_group(QuantisedGDPO(), rewards), by_group(GRPO(), rewards), strict=True):
        equal, same = ((some[:, None] - some).abs() < 1e-9 for some in (coarse, grpo))
        assert (equal | ~same).all(), "what is one to grpo is one here"
    distinct = [
        sum(len(group.mul(1e9).round().unique()) for group in by_group(one, rewards))
        for one in (GRPO(), QuantisedGDPO(), GDPO())
    ]
    assert distinct[0] == distinct[1] < distinct[2]


def test_the_scale_of_each_group_and_of_the_batch_is_gdpos(rewards):
    fine, coarse = by_group(GDPO(), rewards), by_group(QuantisedGDPO(), rewards)
    left = coarse.abs().sum(1) > 0
    assert left.sum() >= 14
    torch.testing.assert_close(coarse.square().sum(1)[left], fine.square().sum(1)[left])
    alone = RewardMatrix(rewards.values_BK[:, :1], rewards.group_ids_B, rewards.names[:1])
    torch.testing.assert_close(QuantisedGDPO()(alone).values_B, GDPO()(alone).values_B)


def test_where_the_scores_of_equal_totals_cancel_nothing_is_left():
    crossed = RewardMatrix.from_groups(torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]]))
    values = QuantisedGDPO()(crossed).values_B
    assert values[:2].tolist() == [0, 0]
    assert values[2] > 0 > values[3]


def test_a_plain_sum_of_rewards_of_one_scale():
    values = torch.tensor([[0.0, -3.0], [1.0, 3.0], [1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    rewards = RewardMatrix(values, torch.zeros(4, dtype=torch.int64), ("format", "content"), {"content": 2.0})
    weights = BatchStdWeighting()(rewards)
    torch.testing.assert_close(weights, torch.tensor([1.0, 2.0], dtype=torch.float64) / values.std(0))
    by_hand = RewardMatrix(values / values.std(0), rewards.group_ids_B, rewards.names, {"content": 2.0})
    torch.testing.assert_close(
        GRPONoStd(weighting=BatchStdWeighting())(rewards).values_B, GRPONoStd()(by_hand).values_B
    )
    constant = RewardMatrix(torch.ones(4, 1), rewards.group_ids_B, ("same",))
    assert BatchStdWeighting()(constant).tolist() == [0]
