"""What rewards earn and cost: by hand, and by the algebra that the estimators obey."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from morl.advantage import GDPO, GRPO, GRPONoStd
from morl.diagnosis.first_step import Push, needed_weight, pushes
from morl.diagnosis.measures import centred, prices, reward_states
from morl.diagnosis.run import first_step
from morl.types import RewardMatrix

NAN = float("nan")


def matrix(*groups, weights=None, bounds=None, names=("format", "content")) -> RewardMatrix:
    """From groups of completions, each a tuple of its rewards."""
    values = torch.tensor([rewards for group in groups for rewards in group], dtype=torch.float64)
    ids = torch.tensor([place for place, group in enumerate(groups) for _ in group])
    return RewardMatrix(values, ids, names, weights or {}, bounds=bounds or {})


TRAP = matrix([(1, 0), (0, 2), (0, 2), (0, 2)], [(1, 1), (0, 2), (0, 3), (0, 1)], [(0, 3), (0, 3), (0, 3), (0, 3)])
"""Where a completion has the format its content is worse: by 2 in the first group, by 1 in the second."""


def test_each_reward_by_hand():
    states = reward_states(TRAP, 4, {"content": 3})
    form, content = states["format"], states["content"]
    assert form.mean.mean == pytest.approx(2 / 12)
    assert (form.threshold, form.success.mean) == (1, pytest.approx(2 / 12))
    assert form.varies.mean == content.varies.mean == pytest.approx(2 / 3)
    assert form.solved.mean == pytest.approx(2 / 3)
    assert (content.threshold, content.success.mean) == (3, pytest.approx(5 / 12))


def test_what_counts_as_success():
    values = matrix([(1, 0.5), (0, 2.0)])
    assert reward_states(values, 2, {})["format"].threshold == 1, "it scores nothing but 0 and 1"
    assert reward_states(values, 2, {})["content"].threshold is None, "nothing says what is good"
    assert reward_states(values, 2, {})["content"].solved is None
    bounded = matrix([(1, 0.5), (0, 2.0)], bounds={"content": (-3, 3)})
    assert reward_states(bounded, 2, {})["content"].threshold == 3
    assert reward_states(bounded, 2, {"content": 2})["content"].success.mean == 0.5


def test_a_missing_score_is_neither_a_success_nor_a_failure():
    format_ = reward_states(matrix([(1, 0), (NAN, 0), (0, 0), (NAN, 0)]), 2, {})["format"]
    assert format_.success.mean == 0.5


def test_a_push_is_the_mean_over_prompts_of_a_mean_over_completions():
    """Under the plain sum of one reward the covariance is its variance: 1/4 of two completions, 3/16 of four."""
    values = matrix([(1, 0), (0, 0)], [(1, 0), (0, 0), (0, 0), (0, 0)], weights={"content": 0.0})
    assert pushes(GRPONoStd(), values)["format"].covariance == pytest.approx((1 / 4 + 3 / 16) / 2)


def test_equal_scores_do_not_vary_however_they_were_added_up():
    values = matrix([(0.1 + 0.2, 1), (0.3, 1), (0.3, 1)])
    assert reward_states(values, 3, {})["format"].varies.mean == 0
    assert not centred(values).any()


def test_the_price_of_a_reward_by_hand():
    """Within the groups: squares of format 3/4 + 3/4, products -3/4 * 2 and -3/4 * 1, so d = 1.5."""
    price, back = prices(TRAP)
    assert (price.reward, price.of) == ("format", "content")
    assert price.lost == pytest.approx(1.5)
    assert price.low < 1.5 < price.high
    squares = 3 * 0.5**2 + 1.5**2 + (0.75**2 + 0.25**2 + 1.25**2 + 0.75**2)
    assert back.lost == pytest.approx((1.5 + 0.75) / squares)


def test_a_price_is_taken_where_both_rewards_are_there():
    values = matrix([(1, 0), (0, 2), (0, NAN)], [(1, NAN), (0, 2), (0, 2)])
    assert prices(values)[0].lost == pytest.approx(2)
    assert prices(values)[0].low is None, "one group alone has no interval"
    nothing = prices(matrix([(1, NAN), (0, NAN)]))
    assert [price.lost for price in nothing] == [None, None]


def test_the_interval_of_a_price_holds_it_as_often_as_it_says():
    """Content is -1.7 for the format and noise; 20 prompts of 4 completions."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        form = (rng.random((20, 4)) < 0.3).astype(float)
        content = -1.7 * form + rng.normal(size=(20, 4))
        price = prices(matrix(*(list(zip(f, c, strict=True)) for f, c in zip(form, content, strict=True))))[0]
        held += price.low <= 1.7 <= price.high
    assert 0.87 <= held / 100 <= 0.99


def test_the_plain_sum_needs_a_weight_of_what_the_reward_costs():
    found = first_step("grpo-no-std", GRPONoStd(), TRAP)
    assert found.pushes["format"].covariance < 0 < found.pushes["content"].covariance
    assert needed_weight(GRPONoStd(), TRAP, "format") == pytest.approx(1.5)
    doubled = matrix(*[[(1, 0), (0, 2), (0, 2), (0, 2)]] * 3, weights={"content": 2.0})
    assert needed_weight(GRPONoStd(), doubled, "format") == pytest.approx(4)
    assert needed_weight(GRPONoStd(), TRAP, "content") == 1, "what is not pushed down needs no more"


def test_with_the_weight_that_it_needs_a_reward_is_pushed_up():
    for estimator in (GRPO(), GRPONoStd()):
        needed = needed_weight(estimator, TRAP, "format")
        assert needed is not None
        for factor, sign in ((0.99, -1), (1.01, 1)):
            weighted = RewardMatrix(TRAP.values_BK, TRAP.group_ids_B, TRAP.names, {"format": factor * needed})
            assert sign * pushes(estimator, weighted)["format"].covariance > 0


def test_a_reward_that_no_weight_can_raise():
    class Against(GRPONoStd):
        def __call__(self, rewards: RewardMatrix):
            return GRPONoStd()(RewardMatrix(-rewards.values_BK, rewards.group_ids_B, rewards.names, rewards.weights))

    assert needed_weight(Against(), TRAP, "format") is not None, "its penalty is what lowers it, at first"
    one = matrix([(1.0,), (0.0,)], names=("format",))
    assert needed_weight(Against(), one, "format") is None
    unweighted = RewardMatrix(TRAP.values_BK, TRAP.group_ids_B, TRAP.names, {"format": 0.0})
    assert needed_weight(GRPONoStd(), unweighted, "format") is None


completions = st.tuples(st.sampled_from([0, 1]), st.floats(-3, 3).map(lambda x: round(x, 2)))


@settings(max_examples=100)
@given(st.lists(st.lists(completions, min_size=4, max_size=4), min_size=1, max_size=4))
def test_two_equal_weights_under_gdpo_push_nothing_down(groups):
    """Within a group Cov(A, r_k) = std_k (1 + rho), and rho is -1 at least."""
    values = matrix(*groups)
    assume(bool(centred(values).abs().sum() > 0))
    for push in pushes(GDPO(), values).values():
        assert push.covariance >= -1e-9


def test_directions():
    assert Push(0.5, 0.1, 0.9, 0.5).direction == "up"
    assert Push(-0.5, -0.9, -0.1, -0.5).direction == "down"
    assert Push(0.5, -0.1, 1.1, 0.5).direction == "unclear"
    assert Push(0.5, None, None, 0.5).direction == "unclear"
    assert Push(0.5, 0.25, 0.75, 0.2).interval == (0.1, pytest.approx(0.3))
    assert Push(0.5, None, None, 0.5).interval is None
