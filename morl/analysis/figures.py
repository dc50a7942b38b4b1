"""The figures of a study, drawn from its results alone.  Needs matplotlib."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen
from matplotlib.axes import Axes

from morl.analysis.collapse import diagnostics
from morl.analysis.drawing import COLUMNS, Panel, Plot, draw_curve, limits, over_steps, side_by_side
from morl.analysis.looks import Look, looks_of
from morl.analysis.plan import PRIMARY
from morl.analysis.results import Band, Line, Results
from morl.analysis.svg import INK, file_svg, house_style
from morl.analysis.tasks import by_task

_FEW = 5
"""So few points are drawn as marks with their quartiles: a band would pretend to know what lies between."""
Limits = Mapping[str, tuple[float, float] | None]


def study_plots(results: Results) -> list[Plot]:
    """Every figure that the results give rise to; call within `house_style`."""
    plots = []
    for source, where in (("held-out", "on held-out prompts"), ("training", "of the training batches")):
        if any(line.curves[source] for line in results.lines):
            title = f"Mean rewards {where} over training: median and quartiles over seeds, for each line"
            plots.append(_curves(results, source, title))
    if len(_scored(results)) > 1:
        title = f"Final rewards ({results.sources['final']}) against each other: small marks runs, large ones medians"
        plots.append(_pareto(results, title))
    for setting in varied_settings(results.lines):
        title = f"Final rewards ({results.sources['final']}) against {setting}: median and quartiles over seeds"
        plots.append(_setting(results, setting, title))
    if any(line.collapse for line in results.lines):
        plots.append(_collapse(results))
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
            path.write_text(file_svg(plot.figure(), plot.title), encoding="utf-8")
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


def looks(results: Results, some: Sequence[Facet]) -> dict[str, Look]:
    """A look for every name in the legend: the colour is the estimator's."""
    return looks_of({name: results.estimator_of(line) for facet in some for name, line in facet.lines.items()})


def _curves(results: Results, source: str, title: str) -> Plot:
    """A row of panels for each facet; those of a reward have one scale, on held-out prompts and in training."""
    rows, scale = facets(results.lines), _limits_of_curves(results)
    look = looks(results, rows)

    def draw(facet: Facet, reward: str, axes: Axes) -> None:
        over_steps(axes, f"mean {reward}", scale[reward])
        _bands(axes, {name: line.curves[source].get(reward) for name, line in facet.lines.items()}, look)

    panels = [
        Panel(facet.heading(reward), partial(draw, facet, reward))
        for facet, reward in itertools.product(rows, results.rewards)
    ]
    columns = COLUMNS if len(rows) == 1 else len(results.rewards)
    return Plot(f"rewards-{source}", title, panels, look, columns)


def _limits_of_curves(results: Results) -> Limits:
    def values(reward: str) -> Iterator[float]:
        for each in results.lines:
            for bands in each.curves.values():
                if reward in bands:
                    yield from (*bands[reward].q1, *bands[reward].q3)

    return {reward: limits(values(reward)) for reward in results.rewards}


def _collapse(results: Results) -> Plot:
    """A row of panels for each diagnostic where there are facets."""
    across = facets(results.lines)
    logged = {metric for line in results.lines for metric in line.collapse}
    shown = [kind for kind in diagnostics(results.rewards) if kind.metric in logged]
    look = looks(results, across)

    def draw(metric: str, label: str, facet: Facet, axes: Axes) -> None:
        bands = [line.collapse[metric] for line in results.lines if metric in line.collapse]
        over_steps(axes, label, limits(x for band in bands for x in (*band.q1, *band.q3)))
        _bands(axes, {name: line.collapse.get(metric) for name, line in facet.lines.items()}, look)

    panels = [
        Panel(facet.heading(kind.label), partial(draw, kind.metric, kind.unit, facet))
        for kind, facet in itertools.product(shown, across)
    ]
    title = "Collapse diagnostics over training: median and quartiles over seeds, for each line"
    return Plot("collapse", title, panels, look, COLUMNS if len(across) == 1 else len(across))


def _scored(results: Results) -> list[str]:
    """The rewards, without the primary metric, which is a mean of them."""
    return [name for name in results.rewards if name != PRIMARY]


def _pareto(results: Results, title: str) -> Plot:
    """A row of panels for each facet; lines of different tasks are never in one panel."""
    rows = [part for facet in facets(results.lines) for part in _of_one_task(results, facet)]
    look, pairs = looks(results, rows), list(itertools.combinations(_scored(results), 2))
    scale = {
        name: limits(
            x
            for each in results.lines
            if name in each.scores["final"]
            for x in _all(each.scores["final"][name].by_seed)
        )
        for name in _scored(results)
    }

    def draw(facet: Facet, across: str, up: str, axes: Axes) -> None:
        axes.set(xlabel=f"final {across}", ylabel=f"final {up}", xlim=scale[across], ylim=scale[up])
        axes.locator_params(axis="x", nbins=5)  # numbers of many digits would run into each other
        for name, line in facet.lines.items():
            if across in line.scores["final"] and up in line.scores["final"]:
                _trade_off(axes, line, (across, up), look[name], line.name in results.best)

    panels = [
        Panel(
            facet.title if len(pairs) == 1 else facet.heading(f"{up} against {across}"),
            partial(draw, facet, across, up),
        )
        for facet, (across, up) in itertools.product(rows, pairs)
    ]
    columns = min(len(pairs), COLUMNS) if len(rows) == 1 else len(pairs) if len(pairs) > 1 else COLUMNS
    return Plot("pareto", title, panels, look, columns, 3.2, 3.0, dashes=False)


def _all(by_seed: Mapping[int, float]) -> Iterable[float]:
    return by_seed.values()


def _of_one_task(results: Results, facet: Facet) -> Iterator[Facet]:
    tasks = by_task(facet.lines, lambda name: facet.lines[name].name, results.different)
    for task, names in tasks.items():
        title = facet.title if len(tasks) == 1 else ", ".join(filter(None, (facet.title, task)))
        yield Facet(title, {name: facet.lines[name] for name in names})


def _trade_off(axes: Axes, line: Line, rewards: tuple[str, str], look: Look, best: bool) -> None:
    one, two = (line.scores["final"][reward] for reward in rewards)
    style: dict[str, Any] = {"marker": look.marker, "color": look.colour, "linestyle": ""}
    seeds = sorted(one.by_seed.keys() & two.by_seed.keys())
    axes.plot([one.by_seed[s] for s in seeds], [two.by_seed[s] for s in seeds], alpha=0.6, **style)
    style |= {"markersize": 9, "markeredgecolor": INK, "markeredgewidth": 1.4 if best else 0.4}
    axes.plot(one.spread.median, two.spread.median, **style)


def _setting(results: Results, setting: str, title: str) -> Plot:
    """One curve for the lines that differ in this setting alone."""
    families: dict[str, list[Line]] = {}
    for each in results.lines:
        others = [f"{key}={value}" for key, value in each.settings.items() if key != setting]
        families.setdefault(", ".join([each.arm, *others]), []).append(each)
    look = looks_of({name: results.estimator_of(lines[0]) for name, lines in families.items()})
    place, ticks = _axis([each.settings.get(setting) for each in results.lines])

    def draw(reward: str, axes: Axes) -> None:
        axes.set(xlabel=setting, ylabel=f"final {reward}")
        for k, (name, lines) in enumerate(families.items()):
            scored = [each for each in lines if reward in each.scores["final"]]
            places = {place(each.settings.get(setting)): each.scores["final"][reward].spread for each in scored}
            band = Band.of({x: places[x] for x in sorted(places)})
            _marks(axes, band, look[name], side_by_side(k, len(families), ticks.values()))
        axes.set_xticks(list(ticks.values()), list(ticks))

    panels = [Panel(reward, partial(draw, reward)) for reward in results.rewards]
    return Plot(f"setting-{setting}", title, panels, look)


def _axis(values: Sequence[Any]) -> tuple[Callable[[Any], float], dict[str, float]]:
    """Where a setting's values stand: numbers to scale, anything else side by side; and the ticks by label."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return float, {f"{value:g}": float(value) for value in sorted(values)}
    names = list(dict.fromkeys(map(str, values)))
    return lambda value: float(names.index(str(value))), {name: float(k) for k, name in enumerate(names)}


def _bands(axes: Axes, bands: Mapping[str, Band | None], look: Mapping[str, Look]) -> None:
    present = {name: band for name, band in bands.items() if band is not None}
    for k, (name, band) in enumerate(present.items()):
        if len(band.steps) <= _FEW:
            _marks(axes, band, look[name], shift=side_by_side(k, len(present), band.steps))
            continue
        draw_curve(axes, band.steps, band.median, look[name])
        axes.fill_between(band.steps, band.q1, band.q3, color=look[name].colour, alpha=0.18, linewidth=0)


def _marks(axes: Axes, band: Band, look: Look, shift: float = 0.0) -> None:
    """Medians as marks, quartiles as bars."""
    steps = [step + shift for step in band.steps]
    axes.plot(steps, band.median, color=look.colour, linestyle=look.dash, marker=look.marker, linewidth=1)
    axes.vlines(steps, band.q1, band.q3, colors=look.colour, linewidth=2.4, alpha=0.5)
