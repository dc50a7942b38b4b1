"""The primary metric of a study, computed for each run from its rewards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from attrs import evolve

from morl.analysis.plan import PRIMARY
from morl.analysis.runs import Curve, Floats, Run
from morl.artifacts.metrics import REWARD_MEAN, REWARD_MISSING, SCORED

Ranges = Mapping[str, tuple[float, float]]


def with_primary(run: Run, ranges: Ranges) -> Run:
    """The run with one metric more, (1/K) sum_k (r_k - low_k) / (high_k - low_k), wherever all K rewards have a mean.

    Where completions lack scores it bears the marks of all of its rewards, so that it is compared only where each of
    them could be.
    """
    if not ranges or not ranges.keys() <= set(run.rewards):
        return run
    scaled = [_rescaled(low, high) for low, high in ranges.values()]

    def mean(values: Sequence[Floats]) -> Floats:
        scores = [scale(one) for scale, one in zip(scaled, values, strict=True)]
        return np.asarray(np.mean(scores, axis=0), dtype=np.float64)

    held_out, metrics, scored = dict(run.held_out), dict(run.metrics), dict(run.scored)
    _add(held_out, PRIMARY, list(ranges), mean)
    _add(held_out, SCORED.of(PRIMARY), _there(held_out, map(SCORED.of, ranges)), lambda v: np.min(v, axis=0))
    _add(metrics, REWARD_MEAN.of(PRIMARY), list(map(REWARD_MEAN.of, ranges)), mean)
    _add(
        metrics,
        REWARD_MISSING.of(PRIMARY),
        _there(metrics, map(REWARD_MISSING.of, ranges)),
        lambda values: np.max(values, axis=0),
    )
    marks = [run.scored.get(name, {}) for name in ranges]
    steps = sorted(set().union(*marks))
    if steps:
        scored[PRIMARY] = {step: "+".join(mark.get(step, "all") for mark in marks) for step in steps}
    return evolve(run, held_out=held_out, metrics=metrics, scored=scored, rewards=(PRIMARY, *run.rewards))


def _rescaled(low: float, high: float) -> Callable[[Floats], Floats]:
    return lambda values: (values - low) / (high - low)


def _there(curves: Mapping[str, Curve], names: Iterable[str]) -> list[str]:
    return [name for name in names if name in curves]


def _add(
    curves: dict[str, Curve], name: str, parts: Sequence[str], combine: Callable[[Sequence[Floats]], Floats]
) -> None:
    """A curve from those of its parts, at the steps that all of them have."""
    if not parts or not all(part in curves for part in parts):
        return
    points = [dict(zip(curves[part].steps.tolist(), curves[part].values, strict=True)) for part in parts]
    steps = sorted(set(points[0]).intersection(*points[1:]))
    values = combine([np.array([some[step] for step in steps]) for some in points]) if steps else ()
    curves[name] = Curve(np.array(steps, dtype=np.float64), np.asarray(values, dtype=np.float64))
