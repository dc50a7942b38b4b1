"""Rounding must not become signal, scale must not become NaN, and what is missing must not count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve

from morl.advantage import GDPO, GRPO, GRPONoStd
from morl.types import RewardMatrix

F64 = torch.float64
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
NAN = float("nan")
each = pytest.mark.parametrize("estimator", [GRPO(eps=0), GRPO(), GRPONoStd(), GDPO(eps=0), GDPO()], ids=repr)


def matrix(values: list[Any], dtype: torch.dtype = F64, **weights: float) -> RewardMatrix:
    return RewardMatrix.from_groups(torch.tensor(values, dtype=dtype), weights=weights)


@each
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [2, 3, 7, 33])
def test_a_batch_of_constant_groups_is_exactly_zero(estimator: Any, dtype: torch.dtype, size: int) -> None:
    """A naive mean of 0.1, 0.4 or 0.7 is off by an ulp, which division by its own standard deviation makes a signal."""
    constants = [0.1, 0.4, 0.7, 1 / 3, 6e4 if dtype is torch.float16 else 1e8]
    answer = estimator(matrix([[[c, c / 3]] * size for c in constants], dtype))
    assert answer.values_B.tolist() == [0] * (size * len(constants))
    assert not answer.contributions_BK.any()


@each
def test_a_constant_reward_adds_nothing_beside_one_that_varies(estimator: Any) -> None:
    for constant in (0.1, 0.7, 1e8, -1e300):
        answer = estimator(matrix([[[constant, 0.0], [constant, 1.0], [constant, 1.0]]]))
        alone = estimator(matrix([[[0.0], [1.0], [1.0]]]))
        assert answer.values_B.tolist() == alone.values_B.tolist()
        assert answer.contributions_BK[:, 0].tolist() == [0, 0, 0]


@each
@pytest.mark.parametrize("low", [1.0, -0.7, 1e8, 1e300, -1e-300])
def test_a_difference_above_the_resolution_counts_and_one_below_does_not(estimator: Any, low: float) -> None:
    """`RESOLUTION` is 2^-40 of the size."""
    for share, seen in ((2**-52, False), (2**-41, False), (2**-39, True), (1e-9, True)):
        values_B = estimator(matrix([[[low], [low + abs(low) * share]]])).values_B
        assert bool(values_B.any()) == seen, share


@each
def test_rounding_of_equal_scores_neither_counts_nor_cancels_a_true_difference(estimator: Any) -> None:
    """A sum of fractions on three ways, beside a reward of 0 and 1."""
    beside = [[0.3, 0.0], [0.1 + 0.2, 1.0], [0.1 * 3, 1.0], [0.3, 0.0]]
    answer = estimator(matrix([beside]))
    alone = estimator(matrix([[[right] for _, right in beside]]))
    assert answer.values_B.tolist() == alone.values_B.tolist()
    assert answer.values_B.all()
    assert not answer.contributions_BK[:, 0].any()
    calls = [[-1.7], [-1.6999999999999997], [-1.7], [-1.7]]
    assert not estimator(matrix([calls])).values_B.any()


@each
def test_with_bounds_a_score_that_is_zero_but_for_rounding_is_zero(estimator: Any) -> None:
    rest = 1 - 0.9 - 0.1
    assert rest != 0
    values = torch.tensor([[[0.0], [rest], [0.0]]], dtype=F64)
    rewards = RewardMatrix.from_groups(values)
    assert estimator(rewards).values_B.any(), "what its size is cannot be told without bounds"
    assert not estimator(evolve(rewards, bounds={"r0": (0.0, 1.0)})).values_B.any()


@each
@pytest.mark.parametrize(
    "values", [(1.0, 1.0 + 2**-39), (0.0, 5e-324), (1e8, 1e8 + 2**-12), (1e300, 1e300 + 1e300 * 2**-39)]
)
def test_the_smallest_variation_counts(estimator: Any, values: tuple[float, float]) -> None:
    """Decided by comparing values: what differs by more than the resolution is told apart, and exactly so."""
    low, high = estimator(matrix([[[values[0]], [values[1]]]])).values_B.tolist()
    if getattr(estimator, "eps", None) == 0 or isinstance(estimator, GDPO):
        assert (low, high) == pytest.approx((-(0.5**0.5), 0.5**0.5), rel=1e-5)
    elif low or high:  # half of 5e-324 is not a number
        assert low == -high < 0


@each
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sums_that_are_equal_on_paper_are_equal(estimator: Any, dtype: torch.dtype) -> None:
    """0.1 + 0.2 against 0.3 + 0.0, in every group, so that nothing but rounding is left for batch normalisation."""
    groups = [[[0.1, 0.2], [0.3, 0.0]], [[0.7, 0.1], [0.8, 0.0]], [[0.4, 0.3], [0.6, 0.1]]]
    assert estimator(matrix(groups, dtype)).values_B.tolist() == [0] * 6


@pytest.mark.parametrize("size", [3, 4, 5, 16, 100])
@pytest.mark.parametrize("offset", [0.0, 0.1, 1000.7])
def test_normalised_rewards_that_cancel_on_paper_cancel(size: int, offset: float) -> None:
    """r2 = c - r1 in every group: gdpo's two terms are opposite."""
    ones = torch.arange(size) % 3 == 0
    first = torch.where(ones, 0.7, 0.1).to(F64) + offset
    second = torch.where(ones, 0.2, 0.5).to(F64)
    values = torch.stack([first, second], 1).expand(6, size, 2)
    for estimator in (GDPO(eps=0), GDPO(), GDPO(batch_norm=False)):
        assert not estimator(RewardMatrix.from_groups(values)).values_B.any()
    weighted = RewardMatrix.from_groups(values, weights={"r0": 0.3, "r1": 0.1})
    assert GDPO(eps=0)(weighted).values_B.all()


def test_three_weighted_terms_that_cancel() -> None:
    """Weights 0.1 + 0.2 = 0.3 on paper only."""
    group = [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    for estimator in (GRPO(eps=0), GRPONoStd(), GDPO(eps=0)):
        rewards = matrix([group, group], r0=0.1, r1=0.2, r2=0.3)
        assert estimator(rewards).values_B.tolist() == [0] * 4


def test_a_small_difference_that_is_meant_survives() -> None:
    """Snapping ends where rounding ends: a difference of 1e-9 between float64 totals is a signal."""
    for estimator in (GRPO(eps=0), GDPO(eps=0)):
        assert estimator(matrix([[[1.0, 0.0], [0.0, 1.0]]], r1=1 - 1e-9)).values_B[0] == pytest.approx(0.5**0.5)


def test_half_precision_is_taken_at_its_word() -> None:
    """Weights 1 and 0.999 differ by less than an ulp of bfloat16, and are meant to differ."""
    rewards = matrix([[[1.0, 0.0], [0.0, 1.0]]], torch.bfloat16, r1=0.999)
    assert GRPO(eps=0)(rewards).values_B.tolist() == pytest.approx([0.5**0.5, -(0.5**0.5)], rel=1e-2)


@pytest.mark.parametrize("scale", [1e300, 1.7e308, 1e-300, 1e-320])
def test_extreme_scales_in_float64(scale: float) -> None:
    """Squares would overflow or vanish; the answer is that of the same rewards at scale 1."""
    group = [[-1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.0]]
    plain, scaled = matrix([group] * 2), matrix([[[a * scale, b * scale] for a, b in group]] * 2)
    for estimator in (GRPO(eps=0), GDPO(eps=0)):
        assert estimator(scaled).values_B.tolist() == pytest.approx(estimator(plain).values_B.tolist(), rel=1e-3)
    got = GRPONoStd()(scaled).values_B
    expected = (GRPONoStd()(plain).values_B * scale).clamp(-torch.finfo(F64).max, torch.finfo(F64).max)
    assert got.tolist() == pytest.approx(expected.tolist(), rel=1e-3)


def test_what_the_dtype_cannot_hold_becomes_its_largest_number() -> None:
    largest = torch.finfo(torch.float32).max
    values = [[[largest], [-largest], [-largest], [-largest]]]
    assert GRPONoStd()(matrix(values, torch.float32)).values_B[0] == largest
    assert GRPO(eps=0)(matrix(values, torch.float32)).values_B[0] == pytest.approx(1.5)


def test_rewards_of_very_different_scale_do_not_disturb_gdpo() -> None:
    tiny, huge = (0.0, 1e-300, 1e-300), (1e300, 0.0, -1e300)
    values = [[[a, b] for a, b in zip(tiny, huge, strict=True)]]
    plain = [[[a, b] for a, b in zip((0.0, 1.0, 1.0), (1.0, 0.0, -1.0), strict=True)]]
    assert GDPO(eps=0)(matrix(values)).values_B.tolist() == pytest.approx(GDPO(eps=0)(matrix(plain)).values_B.tolist())


def test_a_missing_reward_is_left_out_of_its_own_statistics() -> None:
    """Three scored, one missing: the three are normalised as if alone, the fourth gets nothing from it."""
    rewards = matrix([[[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [NAN, 0.0]]])
    alone = GRPO(eps=0)(matrix([[[0.0], [1.0], [1.0]]])).values_B.tolist()
    assert GDPO(batch_norm=False)(rewards).values_B.tolist() == pytest.approx([*alone, 0])


def test_a_missing_reward_is_not_a_signal_in_the_sum() -> None:
    """Every value that is there equals 1; to put 0 in place of the missing one would punish its completion."""
    rewards = matrix([[[1.0, 1.0], [1.0, NAN], [NAN, 1.0], [1.0, 1.0]]])
    for estimator in (GRPO(eps=0), GRPONoStd(), GDPO(eps=0)):
        assert estimator(rewards).values_B.tolist() == [0, 0, 0, 0]


def test_a_completion_without_any_reward_does_not_enter_the_statistics() -> None:
    scored = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    alone, with_absent = matrix([scored] * 2), matrix([[*scored, [NAN, NAN]]] * 2)
    for estimator in (GRPO(eps=0), GRPONoStd(), GDPO(eps=0)):
        a, b, c = estimator(alone).values_B[:3].tolist()
        assert estimator(with_absent).values_B.tolist() == pytest.approx([a, b, c, 0] * 2)


@each
def test_nothing_valid_nothing_gained(estimator: Any) -> None:
    assert estimator(matrix([[[NAN, NAN]] * 3] * 2)).values_B.tolist() == [0] * 6
    assert estimator(matrix([[[1.0, 2.0]], [[3.0, 4.0]]])).values_B.tolist() == [0, 0]
    assert estimator(matrix([[[0.0], [1.0]]], r0=0.0)).values_B.tolist() == [0, 0]


@each
def test_an_empty_batch(estimator: Any) -> None:
    answer = estimator(RewardMatrix(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), ("a", "b")))
    assert answer.values_B.shape == (0,)
    assert answer.contributions_BK.shape == (0, 2)


@each
def test_what_stands_beneath_the_mask_does_not_matter(estimator: Any) -> None:
    values = torch.tensor([[[0.0], [1.0], [torch.inf]]], dtype=F64)
    rewards = RewardMatrix.from_groups(values, valid_PGK=values.isfinite())
    expected = estimator(matrix([[[0.0], [1.0]]])).values_B.tolist()
    assert estimator(rewards).values_B.tolist() == [*expected, 0]


@each
def test_groups_of_unequal_size_in_any_order(estimator: Any) -> None:
    """Group 7 has three completions, group -2 two, group 4 one."""
    ids = torch.tensor([7, -2, 4, 7, -2, 7])
    values = torch.tensor([[0.0], [0.0], [5.0], [1.0], [1.0], [1.0]], dtype=F64)
    got = estimator(RewardMatrix(values, ids, ("a",))).values_B
    sorted_ids, rows = ids.sort(stable=True)
    again = estimator(RewardMatrix(values[rows], sorted_ids, ("a",))).values_B
    assert got[rows].tolist() == again.tolist()
    assert got[2] == 0
    assert got[1] == -got[4] < 0
    assert got[0] < 0 < got[3] == got[5]


def test_a_large_group_keeps_its_precision() -> None:
    """More completions than 52-bit sums would hold in 63 bits."""
    values = (torch.arange(40_000) % 2).to(F64)[None, :, None] * 0.3
    for estimator in (GRPO(eps=0, ddof=0), GDPO(eps=0, ddof=0)):
        got = estimator(RewardMatrix.from_groups(values)).values_B
        torch.testing.assert_close(got.abs(), torch.ones_like(got), rtol=1e-9, atol=0)
