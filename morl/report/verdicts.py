"""In words, what became of each reward: never scored, failing, saturated, crowded out, learning."""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen

from morl.analysis.runs import Curve
from morl.artifacts import metrics as names
from morl.report.view import View

RECENT = 0.25
"""Share of the steps, the last ones, that a verdict is about; changes are taken from the first ones to these."""
FAILING = 0.05
SATURATED = 0.95
DEAD = 0.95
CROWDED = 0.25
"""A reward whose share of the advantage is below this part of an equal share is crowded out."""
CLEAR = 3.0
"""Standard errors between the first and the last steps that make a change."""


@frozen
class Verdict:
    """One thing to know about a reward.

    Attributes:
        reward: its name.
        kind: `never scored`, `failing`, `unweighted`, `saturated`, `constant`, `crowded out`, `learning`, `falling`,
            `no change` or `too short`.
        text: with the figures.
    """

    reward: str
    kind: str
    text: str

    @property
    def is_problem(self) -> bool:
        """Whether somebody should do something about it."""
        return self.kind in ("never scored", "failing", "saturated", "constant", "crowded out", "falling")


def recent(curve: Curve, steps: int) -> float:
    """Mean over the last quarter of the run's steps, at least one; NaN where nothing was logged there."""
    kept = curve.values[curve.steps > steps - max(1, math.ceil(steps * RECENT))]
    return float(np.mean(kept)) if len(kept) else math.nan


def verdicts(view: View) -> list[Verdict]:
    """At least one for every reward, in their order; none without metrics."""
    if not view.steps:
        return []
    return [Verdict(reward, kind, text) for reward in view.rewards for kind, text in _of_reward(view, reward)]


def _of_reward(view: View, reward: str) -> list[tuple[str, str]]:
    steps, found = view.steps, []
    failed = recent(view.curve(names.REWARD_FAILED.of(reward)), steps)
    if failed >= FAILING:
        found.append(("failing", f"failing in {failed:.0%} of the completions"))
    mean = view.curve(names.REWARD_MEAN.of(reward))
    if not len(mean):
        return [*found, ("never scored", "never scored: no completion of any step has a score")]
    if view.weight(reward) == 0:
        found.append(("unweighted", "its weight is 0: it is logged, and nothing is learned from it"))
    saturation = recent(view.curve(names.REWARD_SATURATION.of(reward)), steps)
    dead = recent(view.curve(names.REWARD_DEAD_GROUPS.of(reward)), steps)
    if saturation >= SATURATED:
        found.append(("saturated", f"saturated: at {saturation:.0%} of its range; little is left to learn"))
    elif dead >= DEAD:
        found.append(("constant", f"constant: in {dead:.0%} of the groups no two completions have different scores"))
    elif view.weight(reward) and (crowded := _crowded(view, reward)):
        found.append(("crowded out", crowded))
    return [*found, _change(mean, steps)]


def _crowded(view: View, reward: str) -> str:
    shares = {name: recent(view.curve(names.REWARD_ADVANTAGE_SHARE.of(name)), view.steps) for name in view.rewards}
    known = {name: share for name, share in shares.items() if math.isfinite(share)}
    if reward not in known or len(known) < 2:
        return ""
    first = max(known, key=lambda name: known[name])
    if first == reward or known[reward] >= CROWDED / len(known):
        return ""
    text = f"crowded out by `{first}`: {known[reward]:.0%} of the advantage against {known[first]:.0%}"
    for pair in ((reward, first), (first, reward)):
        correlation = recent(view.curve(names.REWARD_CORRELATION.of(*pair)), view.steps)
        if math.isfinite(correlation):
            return f"{text}; correlation of the two {correlation:+.2f}"
    return text


def _change(mean: Curve, steps: int) -> tuple[str, str]:
    """From the first quarter of the steps to the last, by Welch's standard error."""
    size = math.ceil(steps * RECENT)
    first, last = mean.values[mean.steps <= size], mean.values[mean.steps > steps - size]
    if len(first) < 3 or len(last) < 3:
        return "too short", f"mean {mean.values[-1]:.3g}; too few steps to say whether it changes"
    before, after = float(np.mean(first)), float(np.mean(last))
    error = math.sqrt(float(np.var(first, ddof=1)) / len(first) + float(np.var(last, ddof=1)) / len(last))
    if abs(after - before) <= CLEAR * error or after == before:
        return "no change", f"no clear change: mean {before:.3g} in the first steps, {after:.3g} in the last"
    if after > before:
        return "learning", f"learning: mean from {before:.3g} to {after:.3g}"
    return "falling", f"falling: mean from {before:.3g} to {after:.3g}"
