"""How the lines of a report look: one colour per estimator in every report, and no two lines alike."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from attrs import frozen

PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#7B61D9", "#8C6D4F", "#8A8F00", "#6E7781"),
)
"""Okabe and Ito's, which the colour-blind tell apart, without yellow, pale on white, and black, invisible on black;
then four more, which are legible on both."""
MARKERS = "os^Dvp>h"
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1.5, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (8, 2, 1.5, 2, 1.5, 2)),
    (0, (2.5, 1)),
)
"""Six of them and eight markers: the 48 pairs are taken in an order in which none comes twice."""
ESTIMATORS = {
    "grpo": 0,
    "gdpo": 1,
    "conditioned-grpo-no-std": 2,
    "conditioned-gdpo": 4,
    "grpo-no-std": 5,
    "conditioned-grpo": 6,
}
"""Places in the palette of morl's own estimators; others share the places that are left, by their name."""
_LEFT = tuple(place for place in range(len(PALETTE)) if place not in ESTIMATORS.values())


@frozen
class Look:
    """How a line of the study is drawn; colour is never the only difference."""

    colour: str
    dash: Any
    marker: str


def nth_look(colour: int, dash: int, marker: int) -> Look:
    """The look of these numbers; each goes round."""
    return Look(PALETTE[colour % len(PALETTE)], DASHES[dash % len(DASHES)], MARKERS[marker % len(MARKERS)])


def colour_of(estimator: str) -> int:
    """The place of an estimator in the palette: the same in every report.

    >>> colour_of("gdpo"), colour_of("a plugin's") == colour_of("a plugin's")
    (1, True)
    """
    if estimator in ESTIMATORS:
        return ESTIMATORS[estimator]
    return _LEFT[hashlib.sha256(estimator.encode("utf-8", "replace")).digest()[0] % len(_LEFT)]


def looks_of(estimators: Mapping[str, str]) -> dict[str, Look]:
    """A look for every line.

    Lines of one estimator have its colour and differ by dash and marker.  Where all lines are of one estimator, colours
    tell the lines apart, from the estimator's on.

    Args:
        estimators: line -> name of its estimator.
    """
    single = len(set(estimators.values())) == 1
    found: dict[str, Look] = {}
    members: Counter[int] = Counter()
    for line, estimator in estimators.items():
        place = (colour_of(estimator) + (len(found) if single else 0)) % len(PALETTE)
        n = members[place]  # lines that have this colour already
        members[place] += 1
        found[line] = nth_look(place, n, place + 3 * n + n // len(DASHES))
    return found
