"""The figures of a single run.  Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from morl.analysis.drawing import Panel, Plot, draw_curve, over_steps
from morl.analysis.looks import DASHES, PALETTE, Look, nth_look
from morl.analysis.runs import Curve
from morl.artifacts import metrics as names
from morl.artifacts.metrics import Metric
from morl.report.view import View

MOST_POINTS = 200
"""Of a curve; longer ones are averaged over as many steps as it takes."""
MOST_CURVES = 24
"""In one panel, or panels of one figure; pairs of many rewards are more than anybody can tell apart."""


def run_plots(view: View) -> list[Plot]:
    """Every figure that the metrics give rise to; call within `house_style`."""
    look = {reward: curve_look(k) for k, reward in enumerate(view.rewards)}
    found = [
        _of_each(view, look),
        _groups(view, look),
        _of_all(view, look, "shares", names.REWARD_ADVANTAGE_SHARE, "Share of each reward in the advantage", "share"),
        _of_all(
            view, look, "saturation", names.REWARD_SATURATION, "Mean score between the bounds", "share of the range"
        ),
        _pairs(view, "correlation", names.REWARD_CORRELATION, "Correlation of rewards", "Pearson correlation"),
        _completions(view),
        _statuses(view),
    ]
    return [plot for plot in found if plot is not None]


def curve_look(k: int) -> Look:
    """Dashes go on when the colours begin anew, so that no two of 60 curves look alike."""
    round_ = k // len(PALETTE)
    return nth_look(k, round_ % len(DASHES), k + round_)


def _of_each(view: View, look: Mapping[str, Look]) -> Plot | None:
    """A panel for each reward, for they have scales of their own."""
    panels = []
    for reward in view.rewards:
        curve = view.curve(names.REWARD_MEAN.of(reward))
        if len(curve):
            panels.append(Panel(reward, partial(_single, curve, look[reward], "mean score")))
    title = f"Mean score of each reward{_first_of(panels)}"
    return Plot("rewards", title, panels[:MOST_CURVES], columns=2) if panels else None


def _groups(view: View, look: Mapping[str, Look]) -> Plot | None:
    """What groups teach: shares of those that are mixed, all at their best, all at their worst."""
    kinds = {
        "mixed": (names.REWARD_MIXED, PALETTE[2]),
        "all highest": (names.REWARD_ALL_HIGH, PALETTE[5]),
        "all lowest": (names.REWARD_ALL_LOW, PALETTE[1]),
    }
    panels = []
    for reward in view.rewards:
        curves = {kind: view.curve(metric.of(reward)) for kind, (metric, _) in kinds.items()}
        if len(curves["mixed"]):
            panels.append(
                Panel(reward, partial(_stack, curves, [colour for _, colour in kinds.values()], "share of groups"))
            )
    if panels:
        legend = {kind: Look(colour, "-", "s") for kind, (_, colour) in kinds.items()}
        title = f"Groups by what a reward says of them; only mixed ones teach it anything{_first_of(panels)}"
        return Plot("groups", title, panels[:MOST_CURVES], legend, columns=2, dashes=False)
    title = "Groups in which a reward does not vary"
    return _of_all(view, look, "groups", names.REWARD_DEAD_GROUPS, title, "share of groups")


def _of_all(view: View, look: Mapping[str, Look], name: str, metric: Metric, title: str, unit: str) -> Plot | None:
    """One panel for all rewards: shares are on one scale."""
    return _together(name, title, unit, {reward: view.curve(metric.of(reward)) for reward in view.rewards}, look)


def _pairs(view: View, name: str, metric: Metric, title: str, unit: str) -> Plot | None:
    curves = {}
    for k, first in enumerate(view.rewards):
        for second in view.rewards[k + 1 :]:
            either = [view.curve(metric.of(*pair)) for pair in ((first, second), (second, first))]
            curves[f"{first} and {second}"] = max(either, key=len)
    return _together(name, title, unit, curves, {pair: curve_look(k) for k, pair in enumerate(curves)})


def _together(name: str, title: str, unit: str, curves: Mapping[str, Curve], look: Mapping[str, Look]) -> Plot | None:
    kept = {each: curve for each, curve in curves.items() if len(curve)}
    if not kept:
        return None
    title += _first_of(kept)
    kept = dict(list(kept.items())[:MOST_CURVES])

    def draw(axes: Axes) -> None:
        over_steps(axes, unit)
        for each, curve in kept.items():
            draw_curve(axes, *thinned(curve), look[each])

    return Plot(name, title, [Panel("", draw)], {each: look[each] for each in kept}, width=4.4, height=2.8)


def _first_of(found: Sized) -> str:
    """What a title adds where a figure has room for the first alone."""
    return f" (the first {MOST_CURVES} of {len(found)})" if len(found) > MOST_CURVES else ""


def _completions(view: View) -> Plot | None:
    found = {
        "mean length": (names.LENGTH_MEAN, "tokens"),
        "longest": (names.LENGTH_MAX, "tokens"),
        "truncated": (names.TRUNCATED, "share of completions"),
        "entropy": (names.ENTROPY, "nats per token"),
        "throughput": (names.TOKENS_PER_SECOND, "tokens per second"),
        "clipped": (names.CLIP_FRACTION, "share of tokens"),
    }
    panels = []
    for k, (title, (metric, unit)) in enumerate(found.items()):
        curve = view.curve(metric.name)
        if len(curve):
            panels.append(Panel(title, partial(_single, curve, curve_look(k), unit)))
    return Plot("completions", "Lengths, truncation, entropy and throughput", panels) if panels else None


def _statuses(view: View) -> Plot | None:
    curves = {status: curve for metric, curve in view.metrics.items() if (status := names.STATUS.reward_in(metric))}
    curves = {status: curve for status, curve in curves.items() if len(curve) and curve.values.any()}
    if not curves:
        return None
    look = {status: Look(PALETTE[k % len(PALETTE)], "-", "s") for k, status in enumerate(curves)}
    panel = Panel("", partial(_stack, curves, [each.colour for each in look.values()], "share of conversations"))
    title = "How conversations ended"
    return Plot("statuses", title, [panel], look, width=4.4, height=2.8, dashes=False)


def _single(curve: Curve, look: Look, unit: str, axes: Axes) -> None:
    over_steps(axes, unit)
    draw_curve(axes, *thinned(curve), look)


def _stack(curves: Mapping[str, Curve], colours: list[str], unit: str, axes: Axes) -> None:
    """Shares one upon the other, from 0 to 1."""
    over_steps(axes, unit, (0, 1))
    columns = [thinned(curve) for curve in curves.values()]
    steps = sorted(set().union(*(column[0] for column in columns)))
    rows = [np.interp(steps, *column) if column[0] else np.zeros(len(steps)) for column in columns]
    if len(steps) == 1:  # an area has no width
        steps, rows = [steps[0] - 0.5, steps[0] + 0.5], [np.repeat(row, 2) for row in rows]
    axes.stackplot(steps, *rows, colors=colours, alpha=0.75, linewidth=0)


def thinned(curve: Curve) -> tuple[list[float], list[float]]:
    """Steps and values, averaged over as many steps as leave `MOST_POINTS`."""
    size = -(-len(curve) // MOST_POINTS)
    blocks = [slice(start, start + size) for start in range(0, len(curve), size)] if size else []
    return [float(np.mean(curve.steps[b])) for b in blocks], [float(np.mean(curve.values[b])) for b in blocks]
