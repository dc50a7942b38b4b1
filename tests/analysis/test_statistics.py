"""The statistics: by hand where a hand can, and by the laws that they obey."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from morl.analysis.statistics import (
    Difference,
    Spread,
    area_under_curve,
    bootstrap_interval,
    non_dominated,
    paired_difference,
    sign_flip_p,
    spread,
)

few = settings(max_examples=25)
"""A bootstrap takes milliseconds."""
numbers = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda x: round(x, 6))
samples = st.lists(numbers, min_size=2, max_size=8)


def test_quartiles_by_hand():
    assert spread([3, 1, 2]) == Spread(2, 1.5, 2.5, 3)
    assert spread([1, 2, 3, 4]) == Spread(2.5, 1.75, 3.25, 4)
    assert spread([7.0]) == Spread(7, 7, 7, 1)


def test_area_by_hand():
    steps = np.array([0.0, 1.0, 3.0])
    assert area_under_curve(steps, np.array([2.0, 2.0, 2.0])) == 2
    assert area_under_curve(steps, np.array([0.0, 1.0, 0.0])) == (0.5 + 1.0) / 3
    assert area_under_curve(steps[:1], np.array([4.0])) == 4


@given(st.lists(numbers, min_size=2, max_size=20), st.integers(-5, 5))
def test_an_area_moves_with_its_curve_and_not_with_its_place(values: list[float], moved: int):
    steps, curve = np.arange(len(values), dtype=float), np.array(values)
    area = area_under_curve(steps, curve)
    assert curve.min() - 1e-9 <= area <= curve.max() + 1e-9
    assert area_under_curve(3 * steps + moved, curve + moved) == pytest.approx(area + moved, abs=1e-9)


@few
@given(samples)
def test_an_interval_holds_the_mean_and_stays_within_the_sample(sample: list[float]):
    low, high = bootstrap_interval(sample)
    assert min(sample) - 1e-9 <= low <= np.mean(sample) + 1e-9
    assert np.mean(sample) - 1e-9 <= high <= max(sample) + 1e-9


@few
@given(samples, numbers)
def test_an_interval_moves_with_its_sample(sample: list[float], shift: float):
    assume(len(set(sample)) == len({value + shift for value in sample}))
    low, high = bootstrap_interval(sample)
    assert bootstrap_interval([value + shift for value in sample]) == pytest.approx(
        (low + shift, high + shift), abs=1e-6
    )


@few
@given(samples.flatmap(lambda sample: st.tuples(st.just(sample), st.permutations(sample))))
def test_the_order_of_the_seeds_does_not_matter(both: tuple[list[float], list[float]]):
    sample, permuted = both
    assert bootstrap_interval(sample) == bootstrap_interval(permuted)
    assert sign_flip_p(sample) == pytest.approx(sign_flip_p(permuted))


@few
@given(samples)
def test_a_higher_level_is_wider(sample: list[float]):
    narrow, wide = bootstrap_interval(sample, 0.5), bootstrap_interval(sample, 0.95)
    assert wide[0] - 1e-9 <= narrow[0] <= narrow[1] <= wide[1] + 1e-9


def test_intervals_of_five_normal_values_cover_their_mean_about_as_often_as_they_say():
    """The plain percentile interval does so 84 times of 100."""
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(size=5)) for _ in range(400)]
    assert 0.89 < np.mean([low <= 0 <= high for low, high in intervals]) < 0.98


def test_equal_values_have_an_interval_without_width():
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


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


def test_a_paired_difference_by_hand():
    first, second = {0: 1.0, 1: 2.0, 2: 3.0, 9: 100.0}, {2: 5.0, 1: 3.0, 0: 4.0, 8: -100.0}
    found = paired_difference(first, second)
    assert found.n == 3
    assert found.mean == 2.0  # of 3, 1 and 2
    assert found.p == 0.25
    assert found.low is not None
    assert found.high is not None
    assert 1 <= found.low < 2 < found.high <= 3
    assert found.seen


def test_pairs_matter():
    """The lines overlap, and yet one is above the other on every seed."""
    first = {seed: float(seed) for seed in range(5)}
    assert paired_difference(first, {seed: value + 0.1 for seed, value in first.items()}).seen


@few
@given(st.dictionaries(st.integers(0, 6), numbers), st.dictionaries(st.integers(0, 6), numbers))
def test_the_other_way_round_is_the_opposite(first: dict[int, float], second: dict[int, float]):
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert (there.n, there.p) == (back.n, pytest.approx(back.p) if back.p is not None else None)
    if there.mean is not None:
        assert there.mean == pytest.approx(-back.mean)
    if there.low is not None and min(map(abs, (there.low, there.high))) > 1:
        assert there.seen == back.seen


def test_too_few_pairs_have_no_interval():
    assert paired_difference({0: 1.0}, {1: 2.0}) == Difference(0, None, None, None, None)
    assert paired_difference({0: 1.0}, {0: 2.0}) == Difference(1, 1.0, None, None, None)


@pytest.mark.parametrize(
    ("low", "high", "seen"), [(0.1, 0.2, True), (-0.2, -0.1, True), (0.0, 0.2, False), (-1, 1, False)]
)
def test_a_difference_is_seen_where_its_interval_leaves_out_zero(low: float, high: float, seen: bool):
    assert Difference(5, (low + high) / 2, low, high, 0.5).seen is seen


def test_no_difference_is_seen_between_equals():
    assert not paired_difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).seen


@given(st.dictionaries(st.text(min_size=1, max_size=2), st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_every_point_is_best_or_dominated_by_a_best(points: dict[str, tuple[int, int]]):
    best = non_dominated(points)
    for name, (x, y) in points.items():
        above = [(a, b) for a, b in points.values() if a >= x and b >= y and (a, b) != (x, y)]
        assert (name in best) == (not above)
    assert best
