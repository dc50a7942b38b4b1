"""Paired differences: their interval, an exact test, what could have been seen, and the correction for many of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import numpy as np
from attrs import frozen
from scipy import stats

from morl.analysis.statistics import Floats, mean_interval

ALPHA = 0.05
"""Chance of at least one wrong verdict in a family of comparisons."""
POWER = 0.8
"""Chance of a verdict at the smallest detectable effect."""
FEWEST_PAIRS = 5
"""With fewer pairs there is no verdict, whatever they say."""
_MOST_EXACT = 20
"""Pairs whose changes of sign are all counted; of more pairs as many are drawn."""
_TIE = 1e-9
"""Sums that differ by less than this share of the sum of all sizes are equal: they differ by rounding."""
_SIMULATED = 12
"""Up to so many pairs the power of the test is simulated; of more, Student's is as good as the same."""
_DRAWS = 2000


@frozen
class Difference:
    """Second minus first, by seed.

    Args:
        n: pairs.
        mean: of the differences; None without a pair.
        low, high: interval of the mean, see `mean_interval`; None with fewer than two pairs.
        p: two-sided, by changes of sign; None with fewer than two pairs.
    """

    n: int
    mean: float | None
    low: float | None
    high: float | None
    p: float | None


def differences(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """Second minus first over the seeds that both have."""
    return [second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())]


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Second minus first over the seeds that both have.

    >>> paired_difference({0: 1.0, 1: 2.0, 7: 5.0}, {0: 1.5, 1: 2.5, 8: 0.0})
    Difference(n=2, mean=0.5, low=0.5, high=0.5, p=0.5)
    """
    found = differences(first, second)
    if len(found) < 2:
        return Difference(len(found), found[0] if found else None, None, None, None)
    return Difference(len(found), float(np.mean(found)), *mean_interval(found), sign_flip_p(found))


def sign_flip_p(sample: Sequence[float]) -> float:
    """Two-sided p-value of a mean of 0 under changes of sign: exact for paired runs, whatever their distribution.

    The share of the 2^n changes of sign whose sum is at least as far from 0.  Sums that differ by rounding alone are
    ties and count, so that the p-value is that of anybody who computes it from the same numbers.  With n pairs it
    cannot be smaller than 2 / 2^n: 0.25 for three, 0.0625 for five.  Of more than 20 pairs 2^20 changes are drawn, and
    the one that was observed counts among them.

    Args:
        sample: two differences or more.

    >>> sign_flip_p([1, 2, 3, 4, 5]), sign_flip_p([1, -1]), sign_flip_p([0.1, 0.2, -0.3])
    (0.0625, 1.0, 1.0)
    """
    values = np.sort(np.asarray(sample, dtype=np.float64))
    assert len(values) > 1
    reached = abs(values.sum()) - _TIE * np.abs(values).sum()
    if len(values) <= _MOST_EXACT:
        half = len(values) // 2
        # Every change of sign of one half with every one of the other.
        sums = np.add.outer(_signed_sums(values[:half]), _signed_sums(values[half:]))
        return float((np.abs(sums) >= reached).mean())
    rng = np.random.default_rng(0)
    chunks = 64
    drawn = 2**_MOST_EXACT // chunks
    as_far = sum(
        int((np.abs((2 * rng.integers(0, 2, (drawn, len(values)), dtype=np.int8) - 1) @ values) >= reached).sum())
        for _ in range(chunks)
    )
    return float((as_far + 1) / (drawn * chunks + 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values by Holm's step-down method, which keeps the chance of any wrong rejection below alpha.

    The i-th smallest of m is multiplied by m - i + 1, and is no smaller than those before (Holm, Scandinavian Journal
    of Statistics 6, 1979).  A comparison without a p-value counts in m, for it was looked at.

    >>> holm([0.01, 0.04, 0.03, None])
    [0.04, 0.09, 0.09, None]
    """
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, p * (len(p_values) - rank)))
        adjusted[place] = least
    return adjusted


def fewest_pairs(comparisons: int) -> int:
    """Pairs with which the smallest possible p of the sign-flip test passes Holm's first step.

    >>> [fewest_pairs(m) for m in (1, 2, 4, 16)]
    [6, 7, 8, 10]
    """
    return max(FEWEST_PAIRS, math.ceil(1 + math.log2(comparisons / ALPHA)))


def detectable(sample: Sequence[float], comparisons: int) -> float | None:
    """The smallest mean difference that would have had a verdict with a chance of 80%.

    For normal differences with the standard deviation of the sample, and the sign-flip test at alpha divided by the
    number of comparisons, Holm's first step.  Up to twelve pairs the power of that test is simulated; of more pairs it
    is that of Student's t.

    Args:
        sample: the differences.
        comparisons: of the family.

    Returns:
        None where no difference, however large, could have had a verdict: too few pairs.
    """
    if len(sample) < fewest_pairs(comparisons):
        return None
    return float(np.std(sample, ddof=1)) * _detectable_in_deviations(len(sample), comparisons)


@cache
def _detectable_in_deviations(pairs: int, comparisons: int) -> float:
    level = ALPHA / comparisons
    power = _simulated_power(pairs, level) if pairs <= _SIMULATED else partial(_power_of_t, pairs, level)
    low, high = 0.0, 1.0
    while power(high) < POWER:
        low, high = high, 2 * high
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle) < POWER else (low, middle)
    return high


def _power_of_t(pairs: int, level: float, effect: float) -> float:
    limit = stats.t.ppf(1 - level / 2, pairs - 1)
    return float(stats.nct.sf(limit, pairs - 1, effect * math.sqrt(pairs)))


def _simulated_power(pairs: int, level: float) -> Callable[[float], float]:
    """Effect in standard deviations -> share of draws in which the sign-flip test is at `level` or below."""
    draws = np.random.default_rng(0).normal(size=(_DRAWS, pairs))
    # A change of all signs makes the same size, so half of the changes are enough.
    signs = _signs(pairs)[: 2 ** (pairs - 1)]
    flipped, shifts = draws @ signs.T, signs.sum(1)

    def power(effect: float) -> float:
        sums = np.abs(flipped + effect * shifts)
        observed = np.abs(draws.sum(1) + effect * pairs)[:, None]
        return float(((sums >= observed - _TIE).mean(1) <= level).mean())

    return power


def _signed_sums(values: Floats) -> Floats:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _signs(pairs: int) -> Floats:
    minus = (np.arange(2**pairs)[:, None] >> np.arange(pairs)) & 1
    return np.where(minus == 1, -1.0, 1.0)
