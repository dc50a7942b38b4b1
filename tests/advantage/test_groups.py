"""Groupwise statistics: exactness and order."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.advantage import GDPO, GRPO, GRPONoStd
from morl.advantage.deviations import EPS, RESOLUTION, deviations
from morl.advantage.groups import Groups, divisor, finite, snapped
from morl.types import RewardMatrix


def test_reductions_by_group() -> None:
    groups = Groups.of(torch.tensor([5, -1, 5, 5]))
    values = torch.tensor([[0.25, -1.0], [1.0, 0.5], [-0.5, 0.0], [1.0, 1.0]], dtype=torch.float64)
    assert groups.sizes_P.tolist() == [1, 3]
    assert groups.max(values).tolist() == [[1.0, 0.5], [1.0, 1.0]]
    assert groups.min(values).tolist() == [[1.0, 0.5], [-0.5, -1.0]]
    assert groups.sum(values).tolist() == [[1.0, 0.5], [0.75, 0.0]]
    assert groups.number(values > 0).tolist() == [[1, 1], [2, 1]]
    assert groups.rows(torch.tensor([10.0, 20.0])).tolist() == [20, 10, 20, 20]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_sums_are_close_and_the_same_in_every_order(terms: list[float], random: object) -> None:
    groups = Groups.whole(torch.zeros(len(terms)))
    total = groups.sum(torch.tensor(terms, dtype=torch.float64)).item()
    assert abs(total - math.fsum(terms)) <= len(terms) * EPS
    random.shuffle(terms)  # type: ignore[attr-defined]
    assert groups.sum(torch.tensor(terms, dtype=torch.float64)).item() == total


@pytest.mark.parametrize("size", [1, 2, 1023, 1024, 1025, 70_000])
def test_sums_of_ones_do_not_overflow(size: int) -> None:
    groups = Groups.of(torch.zeros(size, dtype=torch.int64))
    assert groups.sum(torch.ones(size, dtype=torch.float64)).tolist() == [size]
    assert groups.sum(-torch.ones(size, dtype=torch.float64)).tolist() == [-size]


@pytest.mark.parametrize("scale", [1.0, 1e-320, 1e150, 1e308])
def test_std_neither_overflows_nor_vanishes(scale: float) -> None:
    values = torch.tensor([-1.0, 1.0, 0.0, 0.0], dtype=torch.float64) * scale
    groups = Groups.of(torch.tensor([0, 0, 1, 1]))
    spread, none = groups.std(values, torch.tensor([2.0, 2.0]), 1).tolist()
    assert spread == pytest.approx(scale * 2**0.5, rel=1e-3)
    assert none == 0


finite_floats = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=300)
@given(
    st.lists(finite_floats, min_size=2, max_size=9) | st.lists(st.floats(1, 1 + 9 * RESOLUTION), min_size=2, max_size=9)
)
def test_the_error_of_a_centred_value_is_within_its_bound(values: list[float]) -> None:
    """Against exact rational arithmetic, for any finite float64 and for numbers as close as the resolution."""
    rewards = RewardMatrix.from_groups(torch.tensor(values, dtype=torch.float64).view(1, -1, 1))
    parts = deviations(rewards, Groups.of(rewards.group_ids_B))
    exact = [Fraction(value) for value in values]
    spread, mean = max(exact) - min(exact), sum(exact, Fraction(0)) / len(exact)
    units: list[float] = parts.units_BK[:, 0].tolist()
    if spread <= max(map(abs, exact)) * Fraction(RESOLUTION):
        assert units == [0] * len(values)
    else:
        worst = max(abs(Fraction(unit) - (value - mean) / spread) for value, unit in zip(exact, units, strict=True))
        assert worst <= Fraction(parts.error_PK.item())


def test_snapping() -> None:
    totals, bound = torch.tensor([1e-17, -1e-17, 1e-3]), torch.tensor([1e-16, 1e-16, 1e-16])
    assert snapped(totals, bound).tolist() == pytest.approx([0, 0, 1e-3])
    assert snapped(totals, bound)[:2].tolist() == [0, 0]


def test_no_std_divides_to_zero() -> None:
    assert (torch.tensor([1e-20, 3.0]) / divisor(torch.tensor([0.0, 1.0]), 0.5)).tolist() == [0, 2]


def test_overflow_becomes_the_largest_number() -> None:
    wide = torch.tensor([1e5, -math.inf, 1.0], dtype=torch.float64)
    assert finite(wide, torch.float16).tolist() == [65504, -65504, 1]


def test_statistics_have_the_same_bits_whether_groups_lie_side_by_side_or_not():
    random = torch.Generator().manual_seed(0)
    ids_B = torch.arange(40).repeat_interleave(7)
    values_BK = torch.rand(280, 3, generator=random, dtype=torch.float64) * 2 - 1
    rows = torch.randperm(280, generator=random)
    by_side, by_index = Groups.of(ids_B), Groups.of(ids_B[rows])
    assert (by_side.each, by_index.each) == (7, 0)
    assert by_side.split(values_BK).shape == (40, 7, 3)
    for statistic in ("max", "min", "sum"):
        assert getattr(by_side, statistic)(values_BK).equal(getattr(by_index, statistic)(values_BK[rows])), statistic
    assert by_side.number(values_BK > 0).equal(by_index.number(values_BK[rows] > 0))
    sevens_P = torch.full((40,), 7.0, dtype=torch.float64)
    assert by_side.std(values_BK[:, 0], sevens_P, 1).equal(by_index.std(values_BK[rows, 0], sevens_P, 1))
    assert by_side.rows(values_BK[:40])[rows].equal(by_index.rows(values_BK[:40]))


@pytest.mark.parametrize("estimator", [GDPO(batch_norm=False), GRPO(), GRPONoStd()], ids=lambda e: type(e).__name__)
def test_a_batch_of_several_blocks_is_what_its_parts_are(estimator):
    random = torch.Generator().manual_seed(0)
    values_PGK = torch.randn(3000, 6, 5, generator=random)
    values_PGK[torch.rand(values_PGK.shape, generator=random) < 0.1] = math.nan
    assert len(list(Groups.of(torch.arange(3000).repeat_interleave(6)).blocks(5))) == 2
    whole = estimator(RewardMatrix.from_groups(values_PGK))
    parts = [estimator(RewardMatrix.from_groups(part_PGK)) for part_PGK in values_PGK.split(700)]
    assert whole.values_B.equal(torch.cat([part.values_B for part in parts]))
    assert whole.contributions_BK.equal(torch.cat([part.contributions_BK for part in parts]))


def test_completions_in_any_order_have_the_same_bits():
    random = torch.Generator().manual_seed(0)
    ids_B, values_BK = torch.arange(50).repeat_interleave(4), torch.randn(200, 3, generator=random)
    rewards = RewardMatrix(values_BK, ids_B, ("a", "b", "c"), lengths_B=torch.arange(200))
    rows = torch.randperm(200, generator=random)
    for estimator in (GDPO(), GRPO(), GRPONoStd()):
        given, shuffled = estimator(rewards), estimator(rewards.take(rows))
        assert given.values_B[rows].equal(shuffled.values_B)
        assert given.contributions_BK[rows].equal(shuffled.contributions_BK)
