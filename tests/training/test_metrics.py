from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from attrs import evolve

from morl import GDPO, GRPO, RewardMatrix
from morl.training.advantages import with_signal
from morl.training.metrics import advantage_metrics, group_metrics, reward_metrics

NAN = float("nan")


def matrix(rows_PGK, **options):
    values = torch.tensor(rows_PGK, dtype=torch.float64)
    return RewardMatrix.from_groups(values, names=("form", "right"), **options)


def test_reward_figures_leave_missing_values_out():
    rewards = matrix([[[0.0, 1.0], [1.0, NAN]], [[1.0, 2.0], [1.0, 4.0]]])
    failed = torch.tensor([[False, False], [False, True], [False, False], [False, False]])
    metrics = reward_metrics(rewards, failed)
    assert metrics["reward/form/mean"] == 0.75
    assert metrics["reward/right/mean"] == pytest.approx(7 / 3)
    assert metrics["reward/right/missing"] == 0.25
    assert metrics["reward/right/failed"] == 0.25
    assert metrics["reward/form/dead_groups"] == 0.5
    assert metrics["reward/right/dead_groups"] == 0.5
    assert metrics["reward/distinct_combinations"] == 4


def test_a_reward_that_nobody_got_has_no_mean_and_a_constant_one_no_correlation():
    metrics = reward_metrics(matrix([[[1.0, NAN], [1.0, NAN]]]), torch.zeros(2, 2, dtype=torch.bool))
    assert math.isnan(metrics["reward/right/mean"])
    assert metrics["reward/right/missing"] == 1
    assert math.isnan(metrics["reward_correlation/form~right"])


def test_correlation_is_that_of_the_scores():
    metrics = reward_metrics(matrix([[[0.0, 3.0], [1.0, 1.0]], [[2.0, -1.0], [3.0, -3.0]]]), torch.zeros(4, 2).bool())
    assert metrics["reward_correlation/form~right"] == pytest.approx(-1.0)


def test_shares_of_the_advantage_sum_to_one_and_follow_the_weights():
    rewards = matrix([[[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]], weights={"right": 3.0})
    metrics = advantage_metrics(rewards, GDPO()(rewards))
    assert metrics["reward/form/advantage_share"] + metrics["reward/right/advantage_share"] == pytest.approx(1.0)
    assert metrics["reward/right/advantage_share"] > metrics["reward/form/advantage_share"]
    assert metrics["advantage/std"] == pytest.approx(math.sqrt(2 / 3), abs=1e-5)
    assert group_metrics(rewards, GDPO()(rewards), torch.tensor([True])) == {
        "groups/with_signal": 1,
        "groups/cancelled": 0,
    }


def test_distinct_advantages_show_the_collapse_of_grpo():
    rewards = matrix([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]])
    assert advantage_metrics(rewards, GRPO(eps=0)(rewards))["advantage/distinct"] == 2
    assert advantage_metrics(rewards, GDPO(eps=0)(rewards))["advantage/distinct"] == 4


def test_dead_batches_have_neither_signal_nor_share():
    rewards = matrix([[[1.0, 0.7], [1.0, 0.7]]])
    metrics = advantage_metrics(rewards, GDPO()(rewards))
    assert group_metrics(rewards, GDPO()(rewards), with_signal(GDPO(), rewards))["groups/with_signal"] == 0
    assert metrics["advantage/distinct"] == 1
    assert metrics["reward/form/advantage_share"] == 0


def test_groups_whose_rewards_cancel_are_counted():
    rewards = matrix([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    metrics = group_metrics(rewards, GDPO()(rewards), with_signal(GDPO(), rewards))
    assert metrics == {"groups/with_signal": pytest.approx(2 / 3), "groups/cancelled": pytest.approx(1 / 3)}


def test_saturation_is_the_mean_as_a_share_of_the_bounds():
    rewards = evolve(matrix([[[0.0, 1.0], [1.0, NAN]]]), bounds={"right": (-3.0, 3.0)})
    metrics = reward_metrics(rewards, torch.zeros(2, 2).bool())
    assert metrics["reward/right/saturation"] == pytest.approx(4 / 6)
    assert "reward/form/saturation" not in metrics
    huge = evolve(rewards, bounds={"right": (-1.7e308, 1.7e308)})
    assert reward_metrics(huge, torch.zeros(2, 2).bool())["reward/right/saturation"] == pytest.approx(0.5)


def metrics_of(rows_PG, bounds=None):
    """Of one reward, `right`, by hand in groups."""
    rewards = matrix([[[0.0, score] for score in group] for group in rows_PG])
    rewards = rewards if bounds is None else evolve(rewards, bounds={"right": bounds})
    found = reward_metrics(rewards, torch.zeros(rewards.values_BK.shape, dtype=torch.bool))
    head = "reward/right/"
    return {name.removeprefix(head): value for name, value in found.items() if name.startswith(head)}


GROUPS = [[0.0, 0.0, 0.0], [1.0, 1.0, NAN], [0.0, 1.0, 0.0], [NAN, NAN, NAN], [0.5, 0.5, 0.5]]


def test_groups_are_told_apart_by_their_scores():
    found = metrics_of(GROUPS)
    kinds = ("groups_all_low", "groups_all_high", "groups_mixed", "reached", "dead_groups")
    assert [found[kind] for kind in kinds] == pytest.approx([1 / 5, 1 / 5, 1 / 5, 2 / 5, 4 / 5])
    assert (found["min"], found["max"]) == (0, 1)


def test_bounds_say_what_the_lowest_and_the_highest_score_are():
    wide = metrics_of(GROUPS, bounds=(-1.0, 2.0))
    assert [wide[kind] for kind in ("groups_all_low", "groups_all_high", "reached")] == [0, 0, 0]
    assert wide["groups_mixed"] == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("score", "low", "high", "reached"), [(0.0, 1, 0, 0), (1.0, 0, 1, 1), (0.3, 0, 0, 0), (-2.0, 0, 0, 0)]
)
def test_a_batch_of_one_score_is_all_wrong_at_0_and_all_right_at_1(score, low, high, reached):
    found = metrics_of([[score, score], [score, score]])
    assert (found["groups_all_low"], found["groups_all_high"], found["reached"]) == (low, high, reached)


def test_scores_that_differ_by_rounding_are_one_score():
    found = metrics_of([[0.1 + 0.2, 0.3], [0.0, 0.0]], bounds=(0.0, 0.3))
    assert (found["groups_all_high"], found["groups_all_low"], found["groups_mixed"]) == (0.5, 0.5, 0)


def test_the_histogram_has_every_score_in_one_fifth():
    scores = [0.0, 0.1, 0.2, 0.39, 0.4, 0.79, 0.8, 1.0]
    found = metrics_of([scores], bounds=(0.0, 1.0))
    fifths = [found[f"histogram/{fifth}"] for fifth in range(1, 6)]
    assert fifths == pytest.approx([count / 8 for count in (2, 2, 1, 1, 2)])
    assert fifths == pytest.approx(np.histogram(scores, bins=5, range=(0, 1))[0] / 8)


def test_a_reward_without_a_score_has_no_ends_and_no_groups():
    found = metrics_of([[NAN, NAN]])
    assert math.isnan(found["min"])
    assert math.isnan(found["histogram/1"])
    assert [found[kind] for kind in ("groups_all_low", "groups_all_high", "groups_mixed", "reached")] == [0, 0, 0, 0]


@pytest.mark.parametrize("scores", [[-1.7e308, 1.7e308], [5e-324, 0.0], [1e16, 1e16 + 2]])
def test_scores_of_any_size_have_finite_figures(scores):
    found = metrics_of([scores])
    assert all(math.isfinite(value) for name, value in found.items() if name != "std")
    assert sum(found[f"histogram/{fifth}"] for fifth in range(1, 6)) == pytest.approx(1)


def test_covariances_of_contributions_complete_the_shares():
    rewards = matrix([[[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.2]]], weights={"right": 3.0})
    advantages = GDPO()(rewards)
    metrics = advantage_metrics(rewards, advantages)
    covariance = np.cov(advantages.contributions_BK.T.numpy(), ddof=0) / np.var(advantages.values_B.numpy())
    assert metrics["contribution_covariance/form~right"] == pytest.approx(covariance[0, 1])
    assert metrics["reward/form/advantage_share"] == pytest.approx(covariance[0].sum())
