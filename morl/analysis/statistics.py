"""The statistics of a study with few seeds: quartiles, areas, paired differences, and which lines are not dominated."""

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
FEWEST_PAIRS = 5
"""With fewer pairs even differences that all point the same way have a chance of 1/8 or more."""
_MOST_EXACT = 2**14
"""Sign changes that are tried one by one; beyond, as many are drawn."""


@frozen
class Spread:
    """Median and quartiles of a sample, and its size."""

    median: float
    q1: float
    q3: float
    n: int


@frozen
class Difference:
    """Second minus first, by seed.

    Args:
        n: pairs.
        mean: of the differences; None without a pair.
        low, high: bootstrap interval of the mean; None with fewer than two pairs.
        p: two-sided, by changes of sign; None with fewer than two pairs.
    """

    n: int
    mean: float | None
    low: float | None
    high: float | None
    p: float | None

    @property
    def seen(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


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


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p-value of a mean of 0 under changes of sign: exact for paired runs, whatever their distribution.

    With n pairs it cannot be smaller than 2 / 2^n: 0.25 for three, 0.0625 for five.  Up to 14 pairs all changes are
    tried.

    Args:
        differences: two or more.

    >>> sign_flip_p([1, 2, 3, 4, 5]), sign_flip_p([1, -1])
    (0.0625, 1.0)
    """
    found = stats.permutation_test(
        (np.asarray(differences, dtype=np.float64),),
        np.mean,
        permutation_type="samples",
        n_resamples=_MOST_EXACT,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Second minus first over the seeds that both have.

    >>> paired_difference({0: 1.0, 1: 2.0, 7: 5.0}, {0: 1.5, 1: 2.5, 8: 0.0})
    Difference(n=2, mean=0.5, low=0.5, high=0.5, p=0.5)
    """
    differences = [second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())]
    n = len(differences)
    if n < 2:
        return Difference(n, differences[0] if n else None, None, None, None)
    return Difference(n, float(np.mean(differences)), *bootstrap_interval(differences), sign_flip_p(differences))


def non_dominated(points: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """Names of the points that no other reaches in every coordinate and exceeds in one.

    >>> non_dominated({"a": (1, 0), "b": (0, 1), "c": (0, 0.5)})
    ('a', 'b')
    """

    def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
        return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)

    return tuple(name for name, point in points.items() if not any(dominates(o, point) for o in points.values()))
