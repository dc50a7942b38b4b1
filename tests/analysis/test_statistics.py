"""The statistics: by hand where a hand can, and by the laws that they obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from morl.analysis.statistics import (
    Spread,
    area_under_curve,
    bootstrap_interval,
    mean_interval,
    non_dominated,
    spread,
    student_interval,
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
    assert student_interval(sample) == student_interval(permuted)


@few
@given(samples)
def test_a_higher_level_is_wider(sample: list[float]):
    narrow, wide = bootstrap_interval(sample, 0.5), bootstrap_interval(sample, 0.95)
    assert wide[0] - 1e-9 <= narrow[0] <= narrow[1] <= wide[1] + 1e-9


def test_students_interval_by_hand():
    """t for 4 degrees of freedom is 2.776445, from a table."""
    low, high = student_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (low, high) == pytest.approx((3 - 2.776445 * (2.5 / 5) ** 0.5, 3 + 2.776445 * (2.5 / 5) ** 0.5), abs=1e-5)


def test_from_ten_values_on_the_interval_is_the_bootstraps():
    nine = [float(k * k) for k in range(9)]
    assert mean_interval(nine) == student_interval(nine)
    assert mean_interval([*nine, 81.0]) == bootstrap_interval([*nine, 81.0])


@pytest.mark.parametrize(("values", "draws"), [(3, 4000), (5, 4000), (10, 800), (20, 800)])
def test_intervals_hold_the_mean_of_normal_values_as_often_as_they_say(values: int, draws: int):
    """The bootstrap of three values holds it 75 times of 100."""
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(size=values)) for _ in range(draws)]
    assert 0.93 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.97


def test_equal_values_have_an_interval_without_width():
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@given(st.dictionaries(st.text(min_size=1, max_size=2), st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_every_point_is_best_or_dominated_by_a_best(points: dict[str, tuple[int, int]]):
    best = non_dominated(points)
    for name, (x, y) in points.items():
        above = [(a, b) for a, b in points.values() if a >= x and b >= y and (a, b) != (x, y)]
        assert (name in best) == (not above)
    assert best
