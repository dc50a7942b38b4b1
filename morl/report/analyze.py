"""`morl analyze`: how many groups of advantages estimators tell apart, by counting or by drawing groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from morl.advantage.counting import count_distinct_groups, sample_merged_pairs
from morl.errors import ConfigError
from morl.integrations import estimator

MOST_COMPLETIONS = 2_000_000
"""Of the batch that holds every group; it takes some seconds.  Beyond it pairs of groups are sampled."""
MOST_PAIRS = 50_000
MOST_KINDS = 2**62
"""Of completions: their rewards are compared as one number."""
Row: TypeAlias = list[int | str]


def distinct_groups(
    names: Sequence[str], sizes: Sequence[int], levels: int, weights: Sequence[float], options: Mapping[str, Any]
) -> tuple[list[Row], list[Row]]:
    """Rows of numbers of distinct groups where all fit, and of estimates where they do not.

    A row has the group size, the number of groups of rewards, and for each estimator how many groups of advantages it
    makes of them; in the second list, of random pairs of different groups, the share that it does not tell apart.

    Args:
        names: of estimators.
        sizes: G, completions of a group.
        levels: values of each reward: 0, 1, .., levels - 1.
        weights: of the rewards, K of them.
        options: of every estimator.

    Raises:
        ConfigError: rewards that are too many, or options that leave the count undecided.
        PluginError: an unknown estimator.
    """
    if levels ** len(weights) > MOST_KINDS:
        raise ConfigError(f"morl analyze: {len(weights)} rewards of {levels} levels are too many; take fewer of either")
    made = [estimator(name, **options) for name in names]
    ranges = [range(levels)] * len(weights)
    counted: list[Row] = []
    estimated: list[Row] = []
    try:
        for size in sizes:
            groups = math.comb(levels ** len(weights) + size - 1, size)
            if groups * size <= MOST_COMPLETIONS:
                counts = [count_distinct_groups(one, size, ranges, weights=weights) for one in made]
                counted.append([size, groups, *counts])
                continue
            pairs = min(MOST_PAIRS, MOST_COMPLETIONS // (2 * size))
            found = [sample_merged_pairs(one, size, ranges, weights=weights, pairs=pairs) for one in made]
            estimated.append([size, _large(groups), *(f"{one.share:.2%} ± {one.error:.2%}" for one in found)])
    except ValueError as error:
        raise ConfigError(f"morl analyze: {error}") from error
    return counted, estimated


def _large(number: int) -> str:
    """Of any size, more than a float can hold."""
    return f"10^{len(str(number)) - 1}" if number >= 10**9 else str(number)


def report(names: Sequence[str], counted: Sequence[Row], estimated: Sequence[Row]) -> str:
    """Both tables, and what the second is."""
    parts = [table(names, counted)] if counted else []
    if estimated:
        parts.append(
            "Too many groups to count. Of random pairs of different groups of rewards, the share that gets the same\n"
            "advantages, with half the width of its 95% interval:\n" + table(names, estimated)
        )
    return "\n\n".join(parts)


def table(names: Sequence[str], rows: Sequence[Row]) -> str:
    """Aligned columns."""
    heads = ["group size", "of rewards", *names]
    widths = [max(len(head), *(len(str(row[k])) for row in rows)) for k, head in enumerate(heads)]
    lines: list[Sequence[object]] = [heads, *rows]
    return "\n".join(
        "  ".join(f"{cell!s:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
    )
