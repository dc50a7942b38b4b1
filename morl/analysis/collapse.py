"""Collapse diagnostics: which of the logged metrics tell whether an estimator still tells completions apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from attrs import frozen

from morl.analysis.runs import Curve, Run
from morl.artifacts.metrics import (
    ADVANTAGE_DISTINCT,
    ADVANTAGE_MAX_ABS,
    DISTINCT_COMBINATIONS,
    GROUPS_WITH_SIGNAL,
    REWARD_ADVANTAGE_SHARE,
    REWARD_DEAD_GROUPS,
)


@frozen
class Diagnostic:
    """A metric of `docs/reference/metrics.md` and the number that stands for a whole run.

    Args:
        metric: its column.
        label: what readers see.
        unit: of the vertical axis.
        whole_run: from the values of all steps to one.
    """

    metric: str
    label: str
    unit: str
    whole_run: Callable[[Curve], float]


def diagnostics(rewards: Sequence[str]) -> tuple[Diagnostic, ...]:
    """The diagnostics of a study with these rewards."""
    return (
        Diagnostic(ADVANTAGE_DISTINCT.name, "distinct advantages", "number", _mean),
        Diagnostic(DISTINCT_COMBINATIONS.name, "distinct reward combinations", "number", _mean),
        Diagnostic(GROUPS_WITH_SIGNAL.name, "share of groups with signal", "share of groups", _mean),
        Diagnostic(ADVANTAGE_MAX_ABS.name, "largest |advantage|", "advantage", _largest),
        *(
            Diagnostic(REWARD_DEAD_GROUPS.of(name), f"{name}: share of dead groups", "share of groups", _mean)
            for name in rewards
        ),
        *(
            Diagnostic(REWARD_ADVANTAGE_SHARE.of(name), f"{name}: share in the advantage", "share", _mean)
            for name in rewards
        ),
    )


def of_run(diagnostic: Diagnostic, run: Run) -> float | None:
    """The diagnostic over a whole run; None where it was never logged."""
    curve = run.metrics.get(diagnostic.metric)
    return diagnostic.whole_run(curve) if curve is not None and len(curve) else None


def _mean(curve: Curve) -> float:
    return float(np.mean(curve.values))


def _largest(curve: Curve) -> float:
    return float(np.max(curve.values))
