"""Groupwise statistics: exactness and order."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.advantage.groups import EPS, RESOLUTION, Groups, deviations, divisor, finite, snapped
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
