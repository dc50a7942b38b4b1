"""What all figures share: the looks of lines, rows of panels, one legend for them.  Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which the colour-blind tell apart; without yellow, pale on white, and black, invisible on black."""
_MARKERS = "os^Dvp"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
COLUMNS = 3
_LEGEND_ROW = 0.19
"""Inches."""


@frozen
class Look:
    """How a line of the study is drawn; colour is never the only difference."""

    colour: str
    dash: Any
    marker: str


def nth_look(colour: int, dash: int, marker: int) -> Look:
    """The look of these numbers; each goes round."""
    return Look(PALETTE[colour % len(PALETTE)], _DASHES[dash % len(_DASHES)], _MARKERS[marker % len(_MARKERS)])


def make_panels(
    count: int, width: float = 3.2, height: float = 2.4, columns: int = COLUMNS
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, each so many inches wide and high."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * max(columns, 1.5), height * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def label_bottom(panels: Sequence[Axes], label: str, columns: int = COLUMNS) -> None:
    """The axis is named below the lowest panel of each column."""
    for axes in panels[-columns:]:
        axes.set_xlabel(label)


def legend(figure: Figure, look: Mapping[str, Look], *, dashes: bool = True, marks: bool = True) -> None:
    """Once for all panels, in rows above them, for which the figure grows."""
    handles = [
        Line2D([], [], color=one.colour, linestyle=one.dash if dashes else "", marker=one.marker if marks else "")
        for one in look.values()
    ]
    # A name that begins with an underscore would be left out.
    names = [f"\u200b{name}" if name.startswith("_") else name for name in look]
    longest = max(map(len, names))
    width, height = figure.get_size_inches()
    columns = min(max(1, int(width * 14 // (longest + 6))), len(names))
    figure.set_size_inches(width, height + _LEGEND_ROW * (-(-len(names) // columns) - 1))
    figure.legend(handles, names, loc="outside upper left", ncols=columns, handlelength=2.6)


def side_by_side(place: int, count: int, values: Iterable[float]) -> float:
    """How far the marks of one line are moved along the axis, so that they do not lie on those of another."""
    values = list(values)
    return (place - (count - 1) / 2) * (max(values) - min(values)) * 0.015
