"""Paired differences, by hand where a hand can, by enumeration, and by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morl.analysis.differences import (
    ALPHA,
    POWER,
    Difference,
    detectable,
    fewest_pairs,
    holm,
    paired_difference,
    sign_flip_p,
)

few = settings(max_examples=25)
numbers = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda x: round(x, 6))


@few
@given(st.lists(numbers, min_size=2, max_size=6))
def test_p_is_the_share_of_sign_changes_that_are_as_extreme(sample: list[float]):
    """By enumeration; twice the smaller tail, as the two-sided p of a test that need not be symmetric."""
    means = np.array([np.mean(np.multiply(signs, sample)) for signs in itertools.product((1, -1), repeat=len(sample))])
    tails = [np.mean(means >= np.mean(sample) - 1e-9), np.mean(means <= np.mean(sample) + 1e-9)]
    assert sign_flip_p(sample) == pytest.approx(min(1.0, 2 * min(tails)))


@pytest.mark.parametrize(("pairs", "smallest"), [(2, 0.5), (3, 0.25), (5, 0.0625)])
def test_few_pairs_cannot_have_a_small_p(pairs: int, smallest: float):
    assert sign_flip_p([1.0 + k for k in range(pairs)]) == smallest


@few
@given(st.lists(numbers, min_size=2, max_size=8).flatmap(lambda s: st.tuples(st.just(s), st.permutations(s))))
def test_the_order_of_the_seeds_does_not_matter(both: tuple[list[float], list[float]]):
    assert sign_flip_p(both[0]) == sign_flip_p(both[1])


def test_sums_that_differ_by_rounding_are_ties():
    """0.1 + 0.2 and 0.3 are not the same float, and the same number: of 8 changes of sign 4 reach 0, all do."""
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1
    thirds = [k / 3 for k in (1, 2, 3, -2, 5, 7)]
    assert sign_flip_p(thirds) == sign_flip_p([1, 2, 3, -2, 5, 7])


def test_drawn_changes_of_sign_agree_with_what_is_known():
    """Of 24 equal differences the sum is 24 - 2 B with B binomial; 18 positive ones have p = 2 P(B >= 18)."""
    from scipy import stats

    found = sign_flip_p([1.0] * 18 + [-1.0] * 6)
    assert found == pytest.approx(2 * stats.binom.sf(17, 24, 0.5), rel=0.02)


def test_a_paired_difference_by_hand():
    first, second = {0: 1.0, 1: 2.0, 2: 3.0, 9: 100.0}, {2: 5.0, 1: 3.0, 0: 4.0, 8: -100.0}
    found = paired_difference(first, second)
    assert found.n == 3
    assert found.mean == 2.0  # of 3, 1 and 2
    assert found.p == 0.25
    # 2 -+ 4.302653 / sqrt(3), with t for two degrees of freedom from a table
    assert (found.low, found.high) == pytest.approx((-0.484138, 4.484138), abs=1e-5)


@few
@given(st.dictionaries(st.integers(0, 6), numbers), st.dictionaries(st.integers(0, 6), numbers))
def test_the_other_way_round_is_the_opposite(first: dict[int, float], second: dict[int, float]):
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert (there.n, there.p) == (back.n, back.p)
    if there.mean is not None:
        assert there.mean == pytest.approx(-back.mean)
    if there.low is not None:
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-6)


def test_too_few_pairs_have_no_interval():
    assert paired_difference({0: 1.0}, {1: 2.0}) == Difference(0, None, None, None, None)
    assert paired_difference({0: 1.0}, {0: 2.0}) == Difference(1, 1.0, None, None, None)


def test_holm_by_hand():
    """Holm 1979: the smallest times m, the next times m - 1, none below those before."""
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([None, 0.02]) == [None, 0.04]
    assert holm([]) == []


@few
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p_values: list[float]):
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert q is not None
        assert p <= q <= min(1.0, p * len(p_values))
    by_size = sorted(zip(p_values, adjusted, strict=True))
    assert all(one[1] <= two[1] for one, two in itertools.pairwise(by_size))


@pytest.mark.parametrize("comparisons", [1, 2, 3, 4, 10, 40])
def test_fewest_pairs_are_those_whose_smallest_p_passes(comparisons: int):
    pairs = fewest_pairs(comparisons)
    assert sign_flip_p([1.0] * pairs) * comparisons <= ALPHA
    assert sign_flip_p([1.0] * (pairs - 1)) * comparisons > ALPHA


@pytest.mark.parametrize(("pairs", "comparisons"), [(8, 1), (8, 4), (14, 2)])
def test_the_detectable_difference_has_a_verdict_four_times_of_five(pairs: int, comparisons: int):
    """On other draws than those that it is found with."""
    sample = list(np.linspace(-1, 1, pairs))
    deviation = float(np.std(sample, ddof=1))
    least = detectable(sample, comparisons)
    assert least is not None
    rng = np.random.default_rng(7)
    draws = rng.normal(least, deviation, size=(500, pairs))
    found = np.mean([sign_flip_p(draw) * comparisons <= ALPHA for draw in draws])
    assert abs(found - POWER) < 0.06  # three standard errors of 500 draws


def test_too_few_pairs_detect_nothing():
    assert detectable([0.1, 0.2, 0.3, 0.4, 0.5], 1) is None
    assert detectable([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 4) is None
    assert detectable([0.5] * 8, 1) == 0
