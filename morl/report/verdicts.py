"""In words, what became of each reward: never scored, failing, never right, saturated, crowded out, learning."""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen

from morl.analysis.runs import Curve
from morl.artifacts import metrics as names
from morl.artifacts.metrics import Metric
from morl.report.view import View

RECENT = 0.25
"""Share of the steps, the last ones, that a verdict is about; changes are taken from the first ones to these."""
FAILING = 0.05
SATURATED = 0.95
DEAD = 0.95
CROWDED = 0.25
"""A reward whose share of the advantage is below this part of an equal share is crowded out."""
AGAINST = -0.05
"""Of the variance of the advantage; rewards whose contributions have a covariance below it work against each other."""
MOSTLY = 0.5
FEWEST = 3
"""Steps of a quarter that something is said about."""
CLEAR = 3.0
"""Standard errors between the first and the last steps that make a change."""


PROBLEMS = (
    "never scored",
    "no longer scored",
    "failing",
    "never right",
    "saturated",
    "constant",
    "crowded out",
    "falling",
)


@frozen
class Verdict:
    """One thing to know about a reward.

    Attributes:
        reward: its name.
        kind: `never scored`, `no longer scored`, `failing`, `unweighted`, `never right`, `saturated`, `constant`,
            `crowded out`, `learning`, `falling`, `no change` or `too short`.
        text: with the figures.
    """

    reward: str
    kind: str
    text: str

    @property
    def is_problem(self) -> bool:
        """Whether somebody should do something about it."""
        return self.kind in PROBLEMS


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
    since = math.ceil(steps * RECENT)
    if since >= FEWEST and mean.steps[-1] <= steps - since:
        return [
            *found,
            ("no longer scored", f"no longer scored: no completion after step {int(mean.steps[-1])} has a score"),
        ]
    if view.weight(reward) == 0:
        found.append(("unweighted", "its weight is 0: it is logged, and nothing is learned from it"))
    if still := _still(view, reward):
        found.append(still)
    elif view.weight(reward) and (crowded := _crowded(view, reward)):
        found.append(("crowded out", crowded))
    kind, text = _change(mean, steps)
    if still and kind == "no change":
        return found
    low = recent(view.curve(names.REWARD_ALL_LOW.of(reward)), steps)
    if kind == "no change" and low >= MOSTLY:
        text += f"; in {low:.0%} of the groups every score is the lowest, and teaches nothing"
    return [*found, (kind, text)]


def _still(view: View, reward: str) -> tuple[str, str] | None:
    """The verdict on a reward that tells hardly any completions of a group apart, and on which side it is stuck."""

    def share(metric: Metric) -> float:
        return recent(view.curve(metric.of(reward)), view.steps)

    saturation, high, low = share(names.REWARD_SATURATION), share(names.REWARD_ALL_HIGH), share(names.REWARD_ALL_LOW)
    if saturation >= SATURATED:
        return "saturated", f"saturated: at {saturation:.0%} of its range; little is left to learn"
    if high >= SATURATED:
        return (
            "saturated",
            f"saturated: in {high:.0%} of the groups every score is the highest; little is left to learn",
        )
    reached = view.curve(names.REWARD_REACHED.of(reward))
    if low >= DEAD and len(reached) and not reached.values.any():
        return "never right", (
            f"never right: in {low:.0%} of the groups every score is the lowest, and no completion of any step had the"
            " highest; nothing is learned before one has"
        )
    dead = share(names.REWARD_DEAD_GROUPS)
    if not dead >= DEAD:
        return None
    text = f"constant: in {dead:.0%} of the groups no two completions have different scores"
    if math.isfinite(low) and math.isfinite(high):
        text += f": all lowest in {low:.0%}, all highest in {high:.0%}"
    return "constant", text


def _crowded(view: View, reward: str) -> str:
    """Small beside the others, or cancelled by one that works against it."""
    shares = {name: recent(view.curve(names.REWARD_ADVANTAGE_SHARE.of(name)), view.steps) for name in view.rewards}
    known = {name: share for name, share in shares.items() if math.isfinite(share)}
    if reward not in known or len(known) < 2:
        return ""
    first = max(known, key=lambda name: known[name])
    if first == reward or known[reward] >= CROWDED / len(known):
        return ""
    others = [name for name in known if name != reward]
    against = {name: _of_pair(view, names.CONTRIBUTION_COVARIANCE, reward, name) for name in others}
    worst = min(against, key=lambda name: against[name] if math.isfinite(against[name]) else math.inf)
    by = worst if against[worst] <= AGAINST else first
    text = f"crowded out by `{by}`: {known[reward]:.0%} of the advantage against {known[by]:.0%}"
    if against[by] <= AGAINST:
        own = known[reward] - sum(value for value in against.values() if math.isfinite(value))
        text += f"; by itself it had {own:.0%}, and they work against each other ({against[by]:+.0%})"
    correlation = _of_pair(view, names.REWARD_CORRELATION, reward, by)
    return text + (f"; correlation of the two {correlation:+.2f}" if math.isfinite(correlation) else "")


def _of_pair(view: View, metric: Metric, first: str, second: str) -> float:
    """Recent value of a metric of two rewards, which is logged in one order; NaN where it is not."""
    either = (recent(view.curve(metric.of(*pair)), view.steps) for pair in ((first, second), (second, first)))
    return next((value for value in either if math.isfinite(value)), math.nan)


def _change(mean: Curve, steps: int) -> tuple[str, str]:
    """From the first quarter of the steps to the last, by Welch's standard error."""
    size = math.ceil(steps * RECENT)
    first, last = mean.values[mean.steps <= size], mean.values[mean.steps > steps - size]
    if len(first) < FEWEST or len(last) < FEWEST:
        return "too short", f"mean {mean.values[-1]:.3g}; too few steps to say whether it changes"
    before, after = float(np.mean(first)), float(np.mean(last))
    error = math.sqrt(float(np.var(first, ddof=1)) / len(first) + float(np.var(last, ddof=1)) / len(last))
    if abs(after - before) <= CLEAR * error or after == before:
        return "no change", f"no clear change: mean {before:.3g} in the first steps, {after:.3g} in the last"
    if after > before:
        return "learning", f"learning: mean from {before:.3g} to {after:.3g}"
    return "falling", f"falling: mean from {before:.3g} to {after:.3g}"
