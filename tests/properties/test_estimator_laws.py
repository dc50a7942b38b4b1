"""Laws of morl's own estimators: the kit that third parties run, and what holds of these estimators besides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from morl.advantage import GDPO, GRPO, Conditioned, GRPONoStd
from morl.testing import check_advantage_estimator, reward_matrices
from morl.testing.laws import by_group
from morl.testing.strategies import Values
from morl.types import RewardMatrix

EXACT: list[Any] = [GRPO(eps=0), GRPONoStd(), GDPO(eps=0), GDPO(batch_norm=False), GDPO(eps=0, ddof=0)]
ALL = [*EXACT, GRPO(), GRPO(eps=0, ddof=0), GDPO(), GDPO(eps=1.0)]
EVERY_DTYPE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
KINDS: tuple[Values, ...] = ("steps", "decimals", "extreme")

each = pytest.mark.parametrize("estimator", ALL, ids=repr)


def close(expected: torch.Tensor, got: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("factory", "claims"),
    [
        (lambda: GRPO(eps=0), ("zero-mean", "unit-deviation", "shift", "scale", "dead-reward", "rounding", "local")),
        (GRPONoStd, ("zero-mean", "shift", "dead-reward", "rounding", "local")),
        (
            lambda: GDPO(eps=0),
            ("zero-mean", "unit-batch-deviation", "shift", "scale", "scale-each", "dead-reward", "rounding"),
        ),
        (
            lambda: GDPO(batch_norm=False),
            ("zero-mean", "shift", "scale", "scale-each", "dead-reward", "rounding", "local"),
        ),
    ],
    ids=["grpo", "grpo-no-std", "gdpo", "gdpo-without-batch-norm"],
)
def test_conformance(factory: Callable[[], Any], claims: tuple[str, ...]) -> None:
    check_advantage_estimator(factory, claims=claims, max_examples=25)


def test_conformance_with_conditions() -> None:
    chain = {"style": {"on": "length"}, "length": {"on": "correct", "at_least": 0.5}}
    check_advantage_estimator(
        lambda: Conditioned(GDPO(eps=0), chain), names=("correct", "length", "style"), claims=["zero-mean"]
    )


@each
@given(
    rewards=st.sampled_from(KINDS).flatmap(
        lambda kind: reward_matrices(values=kind, dtypes=EVERY_DTYPE, weights=(-1.0, 0.0, 0.3, 7.0))
    ),
    seed=st.integers(0, 99),
)
def test_the_order_of_rows_changes_no_bit(estimator: Any, rewards: RewardMatrix, seed: int) -> None:
    rows = torch.randperm(len(rewards.values_BK), generator=torch.Generator().manual_seed(seed))
    whole, permuted = estimator(rewards), estimator(rewards.take(rows))
    assert torch.equal(whole.values_B[rows], permuted.values_B)
    assert torch.equal(whole.contributions_BK[rows], permuted.contributions_BK)


@each
@given(rewards=reward_matrices(values="extreme", dtypes=EVERY_DTYPE[:2], weights=(-1.0, 0.0, 1e-300, 1e300)))
def test_extreme_weights_give_finite_advantages(estimator: Any, rewards: RewardMatrix) -> None:
    answer = estimator(rewards)
    assert answer.values_B.isfinite().all()
    assert answer.contributions_BK.isfinite().all()


@each
@given(rewards=reward_matrices(max_rewards=3, weights=(0.0, 1.0)))
def test_a_reward_of_weight_zero_is_missing_everywhere(estimator: Any, rewards: RewardMatrix) -> None:
    masked = evolve(rewards, valid_BK=rewards.valid_BK & (rewards.weights_K != 0))
    close(estimator(masked).values_B, estimator(rewards).values_B)


@each
@given(rewards=reward_matrices(weights=(-1.0, -0.5, 2.0)))
def test_negated_weights_negate_the_advantages(estimator: Any, rewards: RewardMatrix) -> None:
    negated = evolve(rewards, weights={name: -rewards.weights.get(name, 1.0) for name in rewards.names})
    assert torch.equal(estimator(negated).values_B, -estimator(rewards).values_B)


@each
@given(rewards=reward_matrices(values="decimals"))
def test_contributions_add_up_without_a_remainder_that_matters(estimator: Any, rewards: RewardMatrix) -> None:
    answer = estimator(rewards)
    torch.testing.assert_close(answer.contributions_BK.sum(1), answer.values_B, rtol=1e-9, atol=1e-9 * 1e8)
    for values_GK, parts_GK in zip(
        by_group(rewards, torch.where(rewards.valid_BK, rewards.values_BK, torch.nan)),
        by_group(rewards, answer.contributions_BK),
        strict=True,
    ):
        for values_G, parts_G in zip(values_GK.T, parts_GK.T, strict=True):
            present = values_G[~values_G.isnan()]
            if len(present) == 0 or present.min() == present.max():
                assert not parts_G.any(), "a reward that does not vary contributes exactly 0"


@given(rewards=reward_matrices())
def test_gdpo_before_batch_normalisation_is_the_sum_of_grpo_on_each_reward(rewards: RewardMatrix) -> None:
    parts = GDPO(batch_norm=False)(rewards).contributions_BK
    for k, name in enumerate(rewards.names):
        alone = RewardMatrix(
            rewards.values_BK[:, k : k + 1], rewards.group_ids_B, (name,), valid_BK=rewards.valid_BK[:, k : k + 1]
        )
        close(rewards.weights.get(name, 1.0) * GRPO(eps=0)(alone).values_B, parts[:, k])


@given(rewards=reward_matrices(missing=False))
def test_without_std_advantages_differ_within_a_group_as_the_sums_do(rewards: RewardMatrix) -> None:
    sums_B = (rewards.values_BK * rewards.weights_K).sum(1)
    for sums_G, values_G in zip(
        by_group(rewards, sums_B), by_group(rewards, GRPONoStd()(rewards).values_B), strict=True
    ):
        close(sums_G - sums_G[0], values_G - values_G[0])


@given(rewards=reward_matrices(), factor=st.sampled_from([0.25, 3.0, 1000.0]))
def test_without_std_advantages_scale_with_the_rewards(rewards: RewardMatrix, factor: float) -> None:
    scaled = evolve(rewards, values_BK=rewards.values_BK * factor)
    close(factor * GRPONoStd()(rewards).values_B, GRPONoStd()(scaled).values_B)


@given(rewards=reward_matrices())
def test_grpo_is_grpo_no_std_times_one_positive_factor_per_group(rewards: RewardMatrix) -> None:
    for with_G, without_G in zip(
        by_group(rewards, GRPO(eps=0)(rewards).values_B),
        by_group(rewards, GRPONoStd()(rewards).values_B),
        strict=True,
    ):
        if without_G.any():
            factor = with_G.norm() / without_G.norm()
            assert factor > 0
            close(with_G, without_G * factor)
        else:
            assert not with_G.any()


@given(rewards=reward_matrices())
def test_batch_normalisation_is_one_positive_factor(rewards: RewardMatrix) -> None:
    """It keeps signs, order and distinctness, and leaves nothing where nothing was."""
    before, after = GDPO(batch_norm=False)(rewards).values_B, GDPO(eps=0)(rewards).values_B
    if before.any():
        factor = after.norm() / before.norm()
        assert factor > 0
        close(before * factor, after)
        assert torch.equal(after == 0, before == 0)
    else:
        assert not after.any()


@given(rewards=reward_matrices(max_rewards=1))
def test_with_one_reward_gdpo_is_grpo_up_to_one_positive_factor_per_batch(rewards: RewardMatrix) -> None:
    weight = rewards.weights.get("r0", 1.0)
    grpo, before, gdpo = (e(rewards).values_B for e in (GRPO(eps=0), GDPO(batch_norm=False), GDPO(eps=0)))
    close(weight * grpo, before)
    if grpo.any():
        scored = rewards.valid_BK[:, 0]
        close(grpo / grpo[scored].std(), gdpo)


@given(rewards=reward_matrices(names=("a", "b")), size=st.sampled_from([-1.0, 0.0, 0.5]))
def test_conditioned_is_the_estimator_of_the_conditioned_rewards(rewards: RewardMatrix, size: float) -> None:
    on, other = rewards.values_BK[:, 0], rewards.values_BK[:, 1]
    by_hand = evolve(
        rewards,
        values_BK=torch.stack([on, torch.where(on >= size, other, 0.0)], 1),
        valid_BK=rewards.valid_BK & torch.stack([torch.ones_like(on, dtype=torch.bool), rewards.valid_BK[:, 0]], 1),
    )
    for inner in EXACT:
        conditioned = Conditioned(inner, {"b": {"on": "a", "at_least": size}})
        assert torch.equal(conditioned(rewards).values_B, inner(by_hand).values_B)


@given(rewards=reward_matrices(max_groups=3))
def test_equal_completions_have_equal_advantages(rewards: RewardMatrix) -> None:
    twice = rewards.take(torch.arange(len(rewards.values_BK)).repeat(2))
    for estimator in EXACT:
        first, second = estimator(twice).values_B.chunk(2)
        assert torch.equal(first, second)


def sums_within_rounding(rewards: RewardMatrix) -> bool:
    """Whether sums of a group differ by less than their dtype knows rewards: equal there, and not in float64."""
    values_BK = rewards.values_BK.double().masked_fill(~rewards.valid_BK, 0.0) * rewards.weights_K
    known = 8 * torch.finfo(rewards.values_BK.dtype).eps * float(values_BK.abs().sum(1).max())
    sums_B = values_BK.sum(1)
    ranges = [
        float(sums_B[rewards.group_ids_B == g].max() - sums_B[rewards.group_ids_B == g].min())
        for g in rewards.group_ids_B.unique()
    ]
    return any(0 < found < known for found in ranges)


@pytest.mark.parametrize("estimator", EXACT, ids=repr)
@given(rewards=reward_matrices(values="decimals", dtypes=EVERY_DTYPE[1:]))
def test_statistics_are_taken_in_float64(estimator: Any, rewards: RewardMatrix) -> None:
    dtype = rewards.values_BK.dtype
    assume(not sums_within_rounding(rewards))
    wide = estimator(evolve(rewards, values_BK=rewards.values_BK.double()))
    got = estimator(rewards).values_B
    assert got.dtype == dtype
    rounding = 4 * torch.finfo(dtype).eps
    scale = float(wide.values_B.abs().max().clamp(min=1))
    torch.testing.assert_close(got.double(), wide.values_B, rtol=rounding, atol=rounding * scale)
