"""The figures of a study, drawn from its results alone.  Needs matplotlib."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from morl.analysis.collapse import diagnostics
from morl.analysis.drawing import COLUMNS, Look, label_bottom, legend, make_panels, nth_look, side_by_side
from morl.analysis.plan import PRIMARY
from morl.analysis.results import Band, Line, Results
from morl.analysis.svg import INK, file_svg, house_style

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


def study_plots(results: Results) -> list[Plot]:
    """Every figure that the results give rise to; call within `house_style`."""
    plots = []
    for source, where in (("held-out", "on held-out prompts"), ("training", "of the training batches")):
        if any(line.curves[source] for line in results.lines):
            title = f"Mean rewards {where} over training: median and quartiles over seeds, for each line"
            plots.append(Plot(f"rewards-{source}", title, _curves(results, source)))
    if len(_scored(results)) > 1:
        title = f"Final rewards ({results.sources['final']}) against each other: small marks runs, large ones medians"
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


@frozen
class Facet:
    """Lines that are drawn into the same panels.

    Args:
        title: what the lines have in common, in a study that varies both arms and settings; else empty.
        lines: by the name under which the legend has them.
    """

    title: str
    lines: Mapping[str, Line]

    def heading(self, what: str) -> str:
        """Of a panel."""
        return f"{what}\n{self.title}" if self.title else what


def facets(lines: Sequence[Line]) -> list[Facet]:
    """One for all lines, or, where arms and settings both vary, one of all arms for each setting."""
    arms = dict.fromkeys(line.arm for line in lines)
    by_setting: dict[str, dict[str, Line]] = {}
    for line in lines:
        shared = line.name.removeprefix(line.arm).removeprefix(", ")
        by_setting.setdefault(shared, {})[line.arm] = line
    if len(arms) == 1 or len(by_setting) == 1 or sum(map(len, by_setting.values())) < len(lines):
        return [Facet("", {line.name: line for line in lines})]
    return [Facet(title, members) for title, members in by_setting.items()]


def looks(some: Sequence[Facet]) -> dict[str, Look]:
    """A look for every name in the legend."""
    names = dict.fromkeys(name for facet in some for name in facet.lines)
    return {name: nth_look(k, k, k) for k, name in enumerate(names)}


def _curves(results: Results, source: str) -> Figure:
    """A row of panels for each facet."""
    rows = facets(results.lines)
    look, columns = looks(rows), min(len(results.rewards), COLUMNS) if len(rows) == 1 else len(results.rewards)
    figure, panels = make_panels(len(rows) * len(results.rewards), columns=columns)
    for axes, (facet, reward) in zip(panels, itertools.product(rows, results.rewards), strict=True):
        axes.set_title(facet.heading(reward))
        _bands(axes, {name: line.curves[source].get(reward) for name, line in facet.lines.items()}, look)
    bands = [band for line in results.lines for band in line.curves[source].values()]
    label_bottom(panels, "step", columns)
    legend(figure, look, marks=any(map(_is_few, bands)))
    return figure


def _collapse(results: Results) -> Figure:
    """A row of panels for each diagnostic where there are facets."""
    across = facets(results.lines)
    logged = {metric for line in results.lines for metric in line.collapse}
    shown = [kind for kind in diagnostics(results.rewards) if kind.metric in logged]
    look, columns = looks(across), COLUMNS if len(across) == 1 else len(across)
    figure, panels = make_panels(len(shown) * len(across), columns=columns)
    for axes, (kind, facet) in zip(panels, itertools.product(shown, across), strict=True):
        axes.set_title(facet.heading(kind.label))
        _bands(axes, {name: line.collapse.get(kind.metric) for name, line in facet.lines.items()}, look)
    bands = [band for line in results.lines for band in line.collapse.values()]
    label_bottom(panels, "step", columns)
    legend(figure, look, marks=any(map(_is_few, bands)))
    return figure


def _scored(results: Results) -> list[str]:
    """The rewards, without the primary metric, which is a mean of them."""
    return [name for name in results.rewards if name != PRIMARY]


def _pareto(results: Results) -> Figure:
    """A row of panels for each facet."""
    rows = facets(results.lines)
    look, pairs = looks(rows), list(itertools.combinations(_scored(results), 2))
    columns = min(len(pairs), COLUMNS) if len(rows) == 1 else len(pairs)
    figure, panels = make_panels(len(rows) * len(pairs), width=3.2, height=3.0, columns=columns)
    for axes, (facet, (across, up)) in zip(panels, itertools.product(rows, pairs), strict=True):
        axes.set(title=facet.title, xlabel=across, ylabel=up)
        for name, line in facet.lines.items():
            scores = line.scores["final"]
            if across not in scores or up not in scores:
                continue
            one, two = scores[across], scores[up]
            style: dict[str, Any] = {"marker": look[name].marker, "color": look[name].colour, "linestyle": ""}
            seeds = sorted(one.by_seed.keys() & two.by_seed.keys())
            axes.plot([one.by_seed[s] for s in seeds], [two.by_seed[s] for s in seeds], alpha=0.6, **style)
            best = line.name in results.best
            style |= {"markersize": 9, "markeredgecolor": INK, "markeredgewidth": 1.4 if best else 0.4}
            axes.plot(one.spread.median, two.spread.median, **style)
        axes.margins(0.08)
    legend(figure, look, dashes=False)
    return figure


def _setting(results: Results, setting: str) -> Figure:
    """One curve for the lines that differ in this setting alone."""
    families: dict[str, list[Line]] = {}
    for line in results.lines:
        others = [f"{key}={value}" for key, value in line.settings.items() if key != setting]
        families.setdefault(", ".join([line.arm, *others]), []).append(line)
    look = {name: nth_look(k, k, k) for k, name in enumerate(families)}
    place, ticks = _axis([line.settings.get(setting) for line in results.lines])
    figure, panels = make_panels(len(results.rewards))
    for axes, reward in zip(panels, results.rewards, strict=True):
        axes.set(title=reward, xlabel=setting)
        for k, (name, lines) in enumerate(families.items()):
            scored = [line for line in lines if reward in line.scores["final"]]
            places = {place(line.settings.get(setting)): line.scores["final"][reward].spread for line in scored}
            band = Band.of({x: places[x] for x in sorted(places)})
            _marks(axes, band, look[name], side_by_side(k, len(families), ticks.values()))
        axes.set_xticks(list(ticks.values()), list(ticks))
    legend(figure, look)
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
            _marks(axes, band, look[name], shift=side_by_side(k, len(present), band.steps))
            continue
        axes.plot(band.steps, band.median, color=look[name].colour, linestyle=look[name].dash)
        axes.fill_between(band.steps, band.q1, band.q3, color=look[name].colour, alpha=0.18, linewidth=0)


def _is_few(band: Band) -> bool:
    return len(band.steps) <= _FEW


def _marks(axes: Axes, band: Band, look: Look, shift: float = 0.0) -> None:
    """Medians as marks, quartiles as bars."""
    steps = [step + shift for step in band.steps]
    axes.plot(steps, band.median, color=look.colour, linestyle=look.dash, marker=look.marker, linewidth=1)
    axes.vlines(steps, band.q1, band.q3, colors=look.colour, linewidth=2.4, alpha=0.5)
