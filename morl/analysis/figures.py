"""The figures of a study, drawn from its results alone.  Needs matplotlib."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from morl.analysis.collapse import diagnostics
from morl.analysis.results import Band, Line, Results
from morl.analysis.svg import INK, file_svg, house_style

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which the colour-blind tell apart; without yellow, pale on white, and black, invisible on black."""
_MARKERS = "os^Dvp"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_COLUMNS = 3
_FEW = 5
"""So few points are drawn as marks with their quartiles: a band would pretend to know what lies between."""


@frozen
class Plot:
    """A drawn figure.

    Args:
        name: of a file that holds it.
        title: what it shows, in a sentence.
    """

    name: str
    title: str
    figure: Figure


@frozen
class Look:
    """How a line of the study is drawn; colour is never the only difference."""

    colour: str
    dash: Any
    marker: str


def study_plots(results: Results) -> list[Plot]:
    """Every figure that the results give rise to; call within `house_style`."""
    plots = []
    for source, where in (("held-out", "on held-out prompts"), ("training", "of the training batches")):
        if any(line.curves[source] for line in results.lines):
            title = f"Mean rewards {where} over training: median and quartiles over seeds, for each line"
            plots.append(Plot(f"rewards-{source}", title, _curves(results, source)))
    if len(results.rewards) > 1:
        title = (
            f"Final rewards ({results.sources['final']}) against each other: small marks are runs, large ones medians"
        )
        plots.append(Plot("pareto", title, _pareto(results)))
    for setting in varied_settings(results.lines):
        title = f"Final rewards ({results.sources['final']}) against {setting}: median and quartiles over seeds"
        plots.append(Plot(f"setting-{setting}", title, _setting(results, setting)))
    if any(line.collapse for line in results.lines):
        title = "Collapse diagnostics over training: median and quartiles over seeds, for each line"
        plots.append(Plot("collapse", title, _collapse(results)))
    return plots


def save_study_plots(results: Path, folder: Path) -> list[Path]:
    """Writes each figure of a `results.json` as an SVG file; returns their paths.

    Raises:
        DataError: the file is not a `results.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with house_style():
        for plot in study_plots(Results.load(results)):
            path = folder / f"{plot.name}.svg"
            path.write_text(file_svg(plot.figure, plot.title), encoding="utf-8")
            written.append(path)
    return written


def varied_settings(lines: Sequence[Line]) -> list[str]:
    """Settings with two values or more."""
    names = dict.fromkeys(name for line in lines for name in line.settings)
    return [name for name in names if len({repr(line.settings.get(name)) for line in lines}) > 1]


def looks(lines: Sequence[Line]) -> dict[str, Look]:
    """A look for every line: where arms and settings both vary, arms differ by colour and settings by dash and mark."""
    arms = list(dict.fromkeys(line.arm for line in lines))
    settings = list(dict.fromkeys(repr(sorted(line.settings.items())) for line in lines))
    if len(arms) * len(settings) > max(len(arms), len(settings)):
        places = [(arms.index(line.arm), settings.index(repr(sorted(line.settings.items())))) for line in lines]
        return {line.name: _look(arm, setting, setting) for line, (arm, setting) in zip(lines, places, strict=True)}
    return {line.name: _look(k, k, k) for k, line in enumerate(lines)}


def _look(colour: int, dash: int, marker: int) -> Look:
    return Look(PALETTE[colour % len(PALETTE)], _DASHES[dash % len(_DASHES)], _MARKERS[marker % len(_MARKERS)])


def _curves(results: Results, source: str) -> Figure:
    look = looks(results.lines)
    figure, panels = _panels(len(results.rewards))
    for axes, reward in zip(panels, results.rewards, strict=False):
        axes.set_title(reward)
        _bands(axes, {line.name: line.curves[source].get(reward) for line in results.lines}, look)
    bands = [band for line in results.lines for band in line.curves[source].values()]
    _label_bottom(panels, "step")
    _legend(figure, look, marks=any(map(_is_few, bands)))
    return figure


def _collapse(results: Results) -> Figure:
    look = looks(results.lines)
    shown = [
        kind for kind in diagnostics(results.rewards) if any(kind.metric in line.collapse for line in results.lines)
    ]
    figure, panels = _panels(len(shown))
    for axes, kind in zip(panels, shown, strict=False):
        axes.set_title(kind.label)
        _bands(axes, {line.name: line.collapse.get(kind.metric) for line in results.lines}, look)
    bands = [band for line in results.lines for band in line.collapse.values()]
    _label_bottom(panels, "step")
    _legend(figure, look, marks=any(map(_is_few, bands)))
    return figure


def _pareto(results: Results) -> Figure:
    look = looks(results.lines)
    pairs = list(itertools.combinations(results.rewards, 2))
    figure, panels = _panels(len(pairs), width=3.2, height=3.0)
    for axes, (across, up) in zip(panels, pairs, strict=False):
        axes.set(xlabel=across, ylabel=up)
        for line in results.lines:
            scores = line.scores["final"]
            if across not in scores or up not in scores:
                continue
            one, two = scores[across], scores[up]
            style: dict[str, Any] = {"marker": look[line.name].marker, "color": look[line.name].colour, "linestyle": ""}
            seeds = sorted(one.by_seed.keys() & two.by_seed.keys())
            axes.plot([one.by_seed[s] for s in seeds], [two.by_seed[s] for s in seeds], alpha=0.6, **style)
            best = line.name in results.best
            style |= {"markersize": 9, "markeredgecolor": INK, "markeredgewidth": 1.4 if best else 0.4}
            axes.plot(one.spread.median, two.spread.median, **style)
        axes.margins(0.08)
    _legend(figure, look, dashes=False)
    return figure


def _setting(results: Results, setting: str) -> Figure:
    """One curve for the lines that differ in this setting alone."""
    families: dict[str, list[Line]] = {}
    for line in results.lines:
        others = [f"{key}={value}" for key, value in line.settings.items() if key != setting]
        families.setdefault(", ".join([line.arm, *others]), []).append(line)
    look = {name: _look(k, k, k) for k, name in enumerate(families)}
    place, ticks = _axis([line.settings.get(setting) for line in results.lines])
    figure, panels = _panels(len(results.rewards))
    for axes, reward in zip(panels, results.rewards, strict=False):
        axes.set(title=reward, xlabel=setting)
        for k, (name, lines) in enumerate(families.items()):
            spreads = [
                (place(line.settings.get(setting)), line.scores["final"][reward].spread)
                for line in lines
                if reward in line.scores["final"]
            ]
            spreads.sort(key=lambda pair: pair[0])
            _marks(
                axes,
                Band(
                    tuple(x for x, _ in spreads),
                    tuple(s.median for _, s in spreads),
                    tuple(s.q1 for _, s in spreads),
                    tuple(s.q3 for _, s in spreads),
                    tuple(s.n for _, s in spreads),
                ),
                look[name],
                shift=_side_by_side(k, len(families), ticks.values()),
            )
        axes.set_xticks(list(ticks.values()), list(ticks))
    _legend(figure, look)
    return figure


def _axis(values: Sequence[Any]) -> tuple[Callable[[Any], float], dict[str, float]]:
    """Where a setting's values stand: numbers to scale, anything else side by side; and the ticks by label."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return float, {f"{value:g}": float(value) for value in sorted(values)}
    names = list(dict.fromkeys(map(str, values)))
    return lambda value: float(names.index(str(value))), {name: float(k) for k, name in enumerate(names)}


def _bands(axes: Axes, bands: Mapping[str, Band | None], look: Mapping[str, Look]) -> None:
    present = {name: band for name, band in bands.items() if band is not None}
    for k, (name, band) in enumerate(present.items()):
        if _is_few(band):
            _marks(axes, band, look[name], shift=_side_by_side(k, len(present), band.steps))
            continue
        axes.plot(band.steps, band.median, color=look[name].colour, linestyle=look[name].dash)
        axes.fill_between(band.steps, band.q1, band.q3, color=look[name].colour, alpha=0.18, linewidth=0)


def _side_by_side(place: int, count: int, values: Iterable[float]) -> float:
    """How far the marks of one line are moved along the axis, so that they do not lie on those of another."""
    values = list(values)
    return (place - (count - 1) / 2) * (max(values) - min(values)) * 0.015


def _is_few(band: Band) -> bool:
    return len(band.steps) <= _FEW


def _marks(axes: Axes, band: Band, look: Look, shift: float = 0.0) -> None:
    """Medians as marks, quartiles as bars."""
    steps = [step + shift for step in band.steps]
    axes.plot(
        steps, band.median, color=look.colour, linestyle=look.dash, marker=look.marker, linewidth=1, clip_on=False
    )
    axes.vlines(steps, band.q1, band.q3, colors=look.colour, linewidth=2.4, alpha=0.5)


def _panels(count: int, width: float = 3.2, height: float = 2.4) -> tuple[Figure, list[Axes]]:
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * max(columns, 1.5), height * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def _label_bottom(panels: Sequence[Axes], label: str) -> None:
    """The axis is named below the lowest panel of each column."""
    for axes in panels[-_COLUMNS:]:
        axes.set_xlabel(label)


def _legend(figure: Figure, look: Mapping[str, Look], *, dashes: bool = True, marks: bool = True) -> None:
    """Once for all panels, in rows above them."""
    handles = [
        Line2D([], [], color=one.colour, linestyle=one.dash if dashes else "", marker=one.marker if marks else "")
        for one in look.values()
    ]
    # A name that begins with an underscore would be left out.
    names = [f"\u200b{name}" if name.startswith("_") else name for name in look]
    longest = max(map(len, names))
    columns = max(1, int(figure.get_size_inches()[0] * 14 // (longest + 6)))
    figure.legend(handles, names, loc="outside upper left", ncols=min(columns, len(names)), handlelength=2.6)


__all__ = ["Plot", "save_study_plots", "study_plots"]
