"""RLOO: the laws that morl asks of every estimator, those it claims besides, and its own definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from morl.testing import check_advantage_estimator, reward_matrices
from morl.types import RewardMatrix
from morl_example.rloo import RLOO


def test_rloo_keeps_the_laws():
    check_advantage_estimator(RLOO, claims=["zero-mean", "shift", "dead-reward", "local"])


@given(reward_matrices())
def test_each_reward_is_compared_with_the_mean_of_the_others(rewards):
    contributions_BK = RLOO()(rewards).contributions_BK
    for (b, k), contribution in zip(
        ((b, k) for b in range(len(contributions_BK)) for k in range(len(rewards.names))),
        contributions_BK.flatten().tolist(),
        strict=True,
    ):
        others_B = (rewards.group_ids_B == rewards.group_ids_B[b]) & rewards.valid_BK[:, k]
        others_B[b] = False
        expected = 0.0
        if rewards.valid_BK[b, k] and others_B.any():
            baseline = rewards.values_BK[others_B, k].mean()
            expected = float(rewards.weights_K[k] * (rewards.values_BK[b, k] - baseline))
        assert contribution == pytest.approx(expected, abs=1e-9)


def test_without_missing_values_it_is_leave_one_out_on_the_weighted_sum():
    rewards = RewardMatrix.from_groups(
        torch.tensor([[[0.0, 4.0], [1.0, 0.0], [5.0, 0.0]]]), ("a", "b"), weights={"b": 0.5}
    )
    totals = [2.0, 1.0, 5.0]
    expected = [total - (sum(totals) - total) / 2 for total in totals]
    assert RLOO()(rewards).values_B.tolist() == pytest.approx(expected)
