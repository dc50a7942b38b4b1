"""Rewards that some completions have no score of: how much a mean covers, and which means can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from morl.analysis.runs import Curve, Run
from morl.artifacts.metrics import REWARD_MISSING, SCORED

OTHER_COMPLETIONS = "not compared: scored on different completions"
Steps = Callable[[Run, Curve], Curve]
"""The part of a curve that a measure looks at."""


def coverage(runs: Sequence[Run], reward: str, source: str, part: Steps) -> float:
    """Mean share of the completions that have a score, over the steps that a measure looks at and over runs."""
    shares = [float(curve.values.mean()) for run in runs if len(curve := _shares(run, reward, source, part))]
    return float(np.mean(shares)) if shares else 1.0


def comparable(first: Run, second: Run, reward: str, source: str, part: Steps) -> bool:
    """Whether the means of two runs are over the same completions, as far as their folders tell.

    On held-out prompts the fingerprints of the scored completions tell; of training batches only the shares are known,
    which are equal at every step where the rows decide what is missing.
    """
    if source == "held-out":
        one, two = (_fingerprints(run, reward, part) for run in (first, second))
        return one == two
    curves = [_shares(run, reward, source, part) for run in (first, second)]
    if all((curve.values == 1).all() for curve in curves):
        return True
    return len(curves[0]) == len(curves[1]) and bool((curves[0].values == curves[1].values).all())


def _fingerprints(run: Run, reward: str, part: Steps) -> list[str | None]:
    steps = part(run, run.held_out[reward]).steps if reward in run.held_out else ()
    return [run.scored.get(reward, {}).get(int(step)) for step in steps]


def _shares(run: Run, reward: str, source: str, part: Steps) -> Curve:
    if source == "held-out":
        return part(run, run.held_out.get(SCORED.of(reward), Curve.of({})))
    missing = run.metrics.get(REWARD_MISSING.of(reward), Curve.of({}))
    return part(run, Curve(missing.steps, 1 - missing.values))
