"""`morl audit`: checks of a run folder, for scripts."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from morl.artifacts import metrics as names
from morl.report.verdicts import recent, verdicts
from morl.report.view import View

LONGER = 1.5
"""Times that the mean length may grow from the first quarter of the steps to the last."""
TRUNCATED = 0.2
DIFFERENCE = 0.1
"""Mean absolute difference of log-probabilities; the looser of the two limits that runs have by themselves."""


@frozen
class Check:
    """One check and what it found.

    Attributes:
        passed: None where the run does not say.
    """

    name: str
    passed: bool | None
    text: str


def audit(view: View) -> list[Check]:
    """All checks, in a fixed order."""
    return [*_of_rewards(view), _length(view), _truncated(view), _difference(view)]


def _of_rewards(view: View) -> Iterator[Check]:
    said = verdicts(view)
    if not said:
        yield Check("rewards", None, "there are no metrics of a finished step")
    for reward in dict.fromkeys(verdict.reward for verdict in said):
        own = [verdict for verdict in said if verdict.reward == reward]
        yield Check(
            f"reward {reward}",
            not any(verdict.is_problem for verdict in own),
            "; ".join(verdict.text for verdict in own),
        )


def _length(view: View) -> Check:
    curve = view.curve(names.LENGTH_MEAN.name)
    if view.steps < 4 or not len(curve):
        return Check("length", None, "too few steps with a mean length")
    first, last = float(curve.values[: max(1, len(curve) // 4)].mean()), recent(curve, view.steps)
    text = f"mean length from {first:.4g} to {last:.4g} tokens"
    return Check("length", last <= LONGER * first, f"{text}; it may grow {LONGER:g} times")


def _truncated(view: View) -> Check:
    return _below(view, names.TRUNCATED.name, "truncated", TRUNCATED, "of the completions are truncated", share=True)


def _difference(view: View) -> Check:
    name = names.LOGPROB_DIFFERENCE.name
    return _below(view, name, "log-probabilities", DIFFERENCE, "between sampling and training, in the mean")


def _below(view: View, metric: str, name: str, limit: float, what: str, *, share: bool = False) -> Check:
    value = recent(view.curve(metric), view.steps)
    if value != value:
        return Check(name, None, f"{metric} was not logged")
    form = ".0%" if share else ".3g"
    return Check(name, value <= limit, f"{value:{form}} {what}; up to {limit:{form}} pass")


def report(checks: list[Check]) -> str:
    """A line for each check."""
    words = {True: "ok", False: "FAILS", None: "unknown"}
    width = max(len(check.name) for check in checks)
    return "\n".join(f"{words[check.passed]:8}{check.name:{width}}  {check.text}" for check in checks)
