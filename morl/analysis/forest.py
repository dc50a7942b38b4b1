"""Differences as a forest plot: interval, mean and every pair of runs, on an axis for each reward.

Plain numbers, which a page draws by itself: as legible on a narrow screen as on a wide one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import frozen

from morl.analysis.differences import differences
from morl.analysis.results import Comparison, Results

MOST_ROWS = 8
"""On the first screen; the others are behind a disclosure."""
MOST_UNDECLARED = 5
_MOST_TICKS = 5


@frozen
class Row:
    """A comparison on the axis of its reward; places are percents of its width.

    Attributes:
        of: what was compared.
        mean, low, high: of the difference; None where there is none.
        points: of every pair of runs.
    """

    of: Comparison
    mean: float | None
    low: float | None
    high: float | None
    points: tuple[float, ...]


@frozen
class Forest:
    """The comparisons of one reward and measure.

    Attributes:
        zero: where no difference is.
        ticks: place and value.
        margin: the two ends of the differences that count as none; None where no margin was named.
    """

    reward: str
    measure: str
    zero: float
    ticks: tuple[tuple[float, float], ...]
    margin: tuple[float, float] | None
    rows: tuple[Row, ...]


def headline(results: Results) -> tuple[list[Comparison], list[Comparison]]:
    """The comparisons that a reader sees first, and the others.

    First are those that were declared, at most `MOST_ROWS`.  Where none was: those of the final values with a verdict,
    then those with the first line, at most `MOST_UNDECLARED`.
    """
    found = [one for one in results.comparisons if one.difference.n]
    declared = [one for one in found if one.declared]
    finals = [one for one in found if one.measure == "final"]
    first = results.lines[0].name if results.lines else ""
    others = [one for one in finals if one.seen] + [one for one in finals if not one.seen and one.first == first]
    shown = declared[:MOST_ROWS] or (others or finals)[:MOST_UNDECLARED]
    return shown, [one for one in found if one not in shown]


def forests(results: Results, some: Sequence[Comparison]) -> list[Forest]:
    """A forest for each reward and measure among the comparisons, in their order."""
    kinds = dict.fromkeys((one.measure, one.reward) for one in some)
    return [_forest(results, [one for one in some if (one.measure, one.reward) == kind], *kind) for kind in kinds]


def _forest(results: Results, some: Sequence[Comparison], measure: str, reward: str) -> Forest:
    pairs = [_pairs(results, one) for one in some]
    ends = [end for one in some for end in (one.difference.low, one.difference.high, one.difference.mean)]
    margin = results.equivalence if measure == "final" else None
    reached = [0.0, *(value for values in pairs for value in values), *(end for end in ends if end is not None)]
    reached += [] if margin is None else [-margin, margin]
    low, high = min(reached), max(reached)
    room = (high - low) * 0.04 or 1.0
    low, high = low - room, high + room

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    def maybe(value: float | None) -> float | None:
        return None if value is None else place(value)

    rows = tuple(
        Row(
            one,
            maybe(one.difference.mean),
            maybe(one.difference.low),
            maybe(one.difference.high),
            tuple(map(place, own)),
        )
        for one, own in zip(some, pairs, strict=True)
    )
    ticks = tuple((place(value), value) for value in round_values(low, high))
    return Forest(reward, measure, place(0.0), ticks, None if margin is None else (place(-margin), place(margin)), rows)


def _pairs(results: Results, found: Comparison) -> list[float]:
    """The difference of every pair of runs."""
    by_name = {line.name: line.scores[found.measure].get(found.reward) for line in results.lines}
    scores = [by_name.get(name) for name in (found.first, found.second)]
    first, second = (
        {seed: value for seed, value in score.by_seed.items() if seed not in found.left_out} if score else {}
        for score in scores
    )
    return differences(first, second)


def round_values(low: float, high: float) -> list[float]:
    """Some round values between two ends, 0 among them where it is.

    >>> round_values(-0.3, 1.1)
    [0.0, 0.5, 1.0]
    """
    power = 10.0 ** math.floor(math.log10((high - low) / _MOST_TICKS))
    step = next(factor * power for factor in (1, 2, 5, 10) if (high - low) / (factor * power) <= _MOST_TICKS)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{n * step:.10g}") for n in range(first, last + 1)]
