"""Groups of a step told apart by each reward: all at its lowest, all at its highest, all alike, mixed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from attrs import frozen

from morl.report.samples import Sample


@frozen
class GroupCounts:
    """Numbers of groups by what one reward says of them.

    Attributes:
        all_low: every score is the lowest of the step, such as 0: nobody was right.
        all_high: every score is the highest of the step: everybody was right.
        alike: every score is another value, one for the whole group.
        mixed: scores differ, so that the reward teaches something.
        unscored: no completion has a score.
    """

    all_low: int = 0
    all_high: int = 0
    alike: int = 0
    mixed: int = 0
    unscored: int = 0


def count_groups(samples: Sequence[Sample], reward: str, low: float | None, high: float | None) -> GroupCounts:
    """Counts the groups; missing scores are left out.

    Args:
        low: lowest score there can be, the lowest of these samples if None.
        high: highest, likewise; where every score is the same, 0 counts as the lowest and 1 as the highest.
    """
    groups: dict[int, list[float]] = defaultdict(list)
    for sample in samples:
        score = sample.rewards.get(reward)
        groups[sample.group].extend([] if score is None else [score])
    scores = [score for group in groups.values() for score in group]
    if scores and min(scores) < max(scores):
        low, high = min(scores) if low is None else low, max(scores) if high is None else high
    elif low is None and high is None:
        low, high = 0.0, 1.0
    kinds = [_kind(group, low, high) for group in groups.values()]
    return GroupCounts(**{kind: kinds.count(kind) for kind in set(kinds)})


def _kind(scores: Sequence[float], low: float | None, high: float | None) -> str:
    if not scores:
        return "unscored"
    if min(scores) < max(scores):
        return "mixed"
    return {high: "all_high", low: "all_low"}.get(scores[0], "alike")
