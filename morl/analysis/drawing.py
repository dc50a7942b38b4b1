"""What all figures share: panels, alone on a page or together in a file, and their legend.  Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import field, frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from morl.analysis.looks import Look

COLUMNS = 3
_LEGEND_ROW = 0.19
"""Inches."""


@frozen
class Panel:
    """A pair of axes.

    Attributes:
        title: above it.
        draw: into the axes, their labels included.
    """

    title: str
    draw: Callable[[Axes], None]


@frozen
class Plot:
    """A figure as a list of panels: a page puts as many of them side by side as its reader's screen has room for.

    Attributes:
        name: of a file that holds it.
        title: what it shows, in a sentence.
        look: of the names in the legend; none where it is empty.
        columns: of the panels, in a file.
        width, height: of a panel, in inches.
        dashes, marks: whether the legend has lines, and markers.
    """

    name: str
    title: str
    panels: Sequence[Panel]
    look: Mapping[str, Look] = field(factory=dict)
    columns: int = COLUMNS
    width: float = 3.2
    height: float = 2.4
    dashes: bool = True
    marks: bool = True

    def figure(self) -> Figure:
        """All panels in one figure, with the legend."""
        figure, axes = make_panels(len(self.panels), self.width, self.height, self.columns)
        for panel, each in zip(self.panels, axes, strict=True):
            each.set_title(panel.title)
            panel.draw(each)
        if self.look:
            legend(figure, self.look, dashes=self.dashes, marks=self.marks)
        return figure

    def figures(self) -> list[Figure]:
        """A figure for each panel, without title and legend."""
        found = []
        for panel in self.panels:
            figure = Figure(figsize=(self.width, self.height), layout="constrained")
            panel.draw(figure.subplots())
            found.append(figure)
        return found


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


def over_steps(axes: Axes, unit: str, ends: tuple[float, float] | None = None) -> None:
    """Labels axes of a curve over the steps of a run, which are whole."""
    axes.set(xlabel="step", ylabel=unit, ylim=ends)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def draw_curve(axes: Axes, steps: Sequence[float], values: Sequence[float], look: Look) -> None:
    """A curve with some markers on it, for neither colour nor dash is seen by everybody."""
    every = max(1, len(steps) // 5)
    # Where they begin differs, so that those of curves which coincide do not.
    start = ord(look.marker) % every
    axes.plot(steps, values, color=look.colour, linestyle=look.dash, marker=look.marker, markevery=(start, every))


def limits(values: Iterable[float]) -> tuple[float, float] | None:
    """Ends of an axis that holds all values with a margin; None without a value.

    >>> limits([0.0, 1.0]), limits([1.0]), limits([])
    ((-0.05, 1.05), (0.5, 1.5), None)
    """
    kept = list(values)
    if not kept:
        return None
    low, high = min(kept), max(kept)
    margin = (high - low) * 0.05 or abs(low) / 2 or 0.5
    return low - margin, high + margin


def side_by_side(place: int, count: int, values: Iterable[float]) -> float:
    """How far the marks of one line are moved along the axis, so that they do not lie on those of another."""
    values = list(values)
    return (place - (count - 1) / 2) * (max(values) - min(values)) * 0.015
