"""The figures of a single run.  Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from morl.analysis.drawing import label_bottom, legend, make_panels, nth_look
from morl.analysis.figures import Plot
from morl.analysis.runs import Curve
from morl.artifacts import metrics as names
from morl.report.text import visible
from morl.report.view import View

MOST_POINTS = 200
"""Of a curve; longer ones are averaged over as many steps as it takes."""
_PANELS = 2
"""Side by side: on a narrow screen a figure is scrolled, and two panels are nearly read without."""


def run_plots(view: View) -> list[Plot]:
    """Every figure that the metrics give rise to; call within `house_style`."""
    by_reward = [
        ("rewards", names.REWARD_MEAN, "Mean score of each reward over the steps", "mean score"),
        ("shares", names.REWARD_ADVANTAGE_SHARE, "Share of each reward in the advantage", "share of the advantage"),
        ("dead", names.REWARD_DEAD_GROUPS, "Share of groups in which a reward does not vary", "share of groups"),
    ]
    plots = []
    for name, metric, title, unit in by_reward:
        curves = {reward: view.curve(metric.of(reward)) for reward in view.rewards}
        if any(map(len, curves.values())):
            draw = _apart if name == "rewards" else _together
            plots.append(Plot(name, title, draw(curves, unit)))
    others = {
        "mean tokens of a completion": view.curve(names.LENGTH_MEAN.name),
        "share truncated": view.curve(names.TRUNCATED.name),
        "entropy in nats": view.curve(names.ENTROPY.name),
        "completion tokens per second": view.curve(names.TOKENS_PER_SECOND.name),
    }
    others = {unit: curve for unit, curve in others.items() if len(curve)}
    if others:
        figure, panels = make_panels(len(others), columns=_PANELS)
        for axes, (unit, curve) in zip(panels, others.items(), strict=True):
            axes.set_ylabel(unit)
            _draw(axes, curve, 0)
        label_bottom(panels, "step", _PANELS)
        plots.append(Plot("completions", "Lengths, truncation, entropy and throughput", figure))
    statuses = {status: curve for metric, curve in view.metrics.items() if (status := names.STATUS.reward_in(metric))}
    if statuses:
        plots.append(Plot("statuses", "How conversations ended", _together(statuses, "share of the conversations")))
    return plots


def _apart(curves: Mapping[str, Curve], unit: str) -> Figure:
    """A panel for each: rewards have scales of their own."""
    shown = {name: curve for name, curve in curves.items() if len(curve)}
    figure, panels = make_panels(len(shown), columns=_PANELS)
    for axes, (name, curve) in zip(panels, shown.items(), strict=True):
        axes.set(title=visible(name), ylabel=unit)
        _draw(axes, curve, list(curves).index(name))
    label_bottom(panels, "step", _PANELS)
    return figure


def _together(curves: Mapping[str, Curve], unit: str) -> Figure:
    """One panel for all: shares are on one scale."""
    figure, (axes,) = make_panels(1, width=4.8, height=3.0)
    axes.set(ylabel=unit, xlabel="step")
    look = {visible(name): nth_look(k, k // 6 + k, k) for k, name in enumerate(curves)}
    for k, curve in enumerate(curves.values()):
        _draw(axes, curve, k)
    legend(figure, look, marks=False)
    return figure


def _draw(axes: Axes, curve: Curve, k: int) -> None:
    """Dashes go on when the colours begin anew, so that no two of 24 curves look alike."""
    size = -(-len(curve) // MOST_POINTS)
    blocks = [slice(start, start + size) for start in range(0, len(curve), size)] if size else []
    steps = [float(np.mean(curve.steps[block])) for block in blocks]
    values = [float(np.mean(curve.values[block])) for block in blocks]
    look = nth_look(k, k // 6 + k, k)
    marker = look.marker if len(steps) == 1 else ""
    axes.plot(steps, values, color=look.colour, linestyle=look.dash, marker=marker)
