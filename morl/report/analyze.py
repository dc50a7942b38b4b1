"""`morl analyze`: how many groups of advantages estimators tell apart, counted over all assignments of rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from morl.advantage.counting import count_distinct_groups
from morl.errors import ConfigError
from morl.integrations import estimator

MOST_COMPLETIONS = 2_000_000
"""Of the batch that holds every group; it takes some seconds."""


def distinct_groups(
    names: Sequence[str], sizes: Sequence[int], rewards: int, levels: int, options: Mapping[str, Any]
) -> list[list[int]]:
    """A row for each group size: the size, the groups of rewards, then the distinct groups of each estimator.

    Args:
        names: of estimators.
        sizes: G, completions of a group.
        rewards: K, all with weight 1.
        levels: values of each reward: 0, 1, .., levels - 1.
        options: of every estimator.

    Raises:
        ConfigError: too many groups to try, or options that leave the count undecided.
        PluginError: an unknown estimator.
    """
    made = [estimator(name, **options) for name in names]
    groups = {size: math.comb(levels**rewards + size - 1, size) for size in sizes}
    for size, number in groups.items():
        if number * size > MOST_COMPLETIONS:
            raise ConfigError(
                f"--group-size={size} with {rewards} rewards of {levels} levels has {number} groups to try, of"
                f" {number * size} completions; at most {MOST_COMPLETIONS} are tried, so take fewer of something"
            )
    ranges = [range(levels)] * rewards
    try:
        return [[size, groups[size], *(count_distinct_groups(one, size, ranges) for one in made)] for size in sizes]
    except ValueError as error:
        raise ConfigError(f"morl analyze: {error}") from error


def table(names: Sequence[str], rows: Sequence[Sequence[int]]) -> str:
    """Aligned columns."""
    heads = ["group size", "of rewards", *names]
    widths = [max(len(head), *(len(str(row[k])) for row in rows)) for k, head in enumerate(heads)]
    lines: list[Sequence[object]] = [heads, *rows]
    return "\n".join(
        "  ".join(f"{cell!s:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
    )
