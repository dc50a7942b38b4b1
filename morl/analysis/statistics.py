"""The statistics of a sample of few seeds: quartiles, areas, intervals of a mean, and which lines are not dominated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from attrs import frozen
from scipy import integrate, stats

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
"""Nominal coverage of the intervals."""
RESAMPLES = 9999
_MOST_DRAWN = 2**24
"""Values that are resampled at once, for memory."""
FEWEST_FOR_BOOTSTRAP = 10
"""Of fewer values the interval is Student's: a bootstrap cannot know of values beyond the few that it has."""


@frozen
class Spread:
    """Median and quartiles of a sample, and its size."""

    median: float
    q1: float
    q3: float
    n: int


def spread(values: Iterable[float]) -> Spread:
    """Median and quartiles, linearly interpolated between neighbours.

    >>> spread([4, 1, 2, 3, 10])
    Spread(median=3.0, q1=2.0, q3=4.0, n=5)
    """
    sample = np.array(list(values), dtype=np.float64)
    assert len(sample)
    assert np.isfinite(sample).all()
    q1, median, q3 = np.quantile(sample, [0.25, 0.5, 0.75]).tolist()
    return Spread(median, q1, q3, len(sample))


def area_under_curve(steps: Floats, values: Floats) -> float:
    """Area by the trapezoidal rule, divided by the length of the curve: its mean height.

    >>> area_under_curve(np.array([0.0, 1.0, 4.0]), np.array([0.0, 1.0, 1.0]))
    0.875
    """
    assert len(values)
    if len(values) == 1:
        return float(values[0])
    return float(integrate.trapezoid(values, steps) / (steps[-1] - steps[0]))


def mean_interval(sample: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Interval of the mean: Student's t of fewer than ten values, from ten on the bootstrap.

    On normal data both hold the mean as often as they say; a bootstrap of three values would do so three times of four
    whatever its level.  `tests/analysis/test_coverage_of_intervals.py` simulates it.

    Args:
        sample: two values or more.
        level: nominal coverage.
    """
    return (student_interval if len(sample) < FEWEST_FOR_BOOTSTRAP else bootstrap_interval)(sample, level)


def student_interval(sample: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Mean +- t s / sqrt(n), with t the quantile of Student's t for n - 1 degrees of freedom and s the standard
    deviation with n - 1.

    Args:
        sample: two values or more.
        level: nominal coverage.

    >>> low, high = student_interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    values = np.sort(np.asarray(sample, dtype=np.float64))
    assert len(values) > 1
    if values[0] == values[-1]:
        return float(values[0]), float(values[0])
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def bootstrap_interval(sample: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, widened for small samples.

    The percentile interval is too narrow by a factor of sqrt((n - 1) / n) z / t, which matters at five seeds.  So the
    quantiles are taken further out, at Phi(-sqrt(n / (n - 1)) t) with t the quantile of Student's t for n - 1 degrees
    of freedom (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015).  BCa
    is not used: its acceleration is unreliable at this size and undefined for equal values.  Resamples are the same at
    every call, and the order of the sample does not matter.

    Args:
        sample: two values or more.
        level: nominal coverage.

    >>> bootstrap_interval([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    values = np.sort(np.asarray(sample, dtype=np.float64))
    n = len(values)
    assert n > 1
    if values[0] == values[-1]:
        return float(values[0]), float(values[0])
    tail = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(1 - (1 - level) / 2, n - 1))
    found = stats.bootstrap(
        (values,),
        np.mean,
        confidence_level=min(1 - 2 * tail, 1 - 1e-12),
        n_resamples=RESAMPLES,
        batch=max(1, _MOST_DRAWN // n),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def non_dominated(points: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Names of the points that no other reaches in every coordinate and exceeds in one.

    >>> non_dominated({"a": (1, 0), "b": (0, 1), "c": (0, 0.5)})
    ('a', 'b')
    """

    def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
        return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)

    return tuple(name for name, point in points.items() if not any(dominates(o, point) for o in points.values()))
