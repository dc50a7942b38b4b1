"""Notices a reward that fails on everything: wrong columns, a wrong signature, a judge that is not there.

Single failures belong to training, and `on_failure` handles them.  A reward that never gives a score trains nothing,
and a run that goes on without it ends with a model that nobody asked for.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType

from attrs import define, field, frozen

from morl.errors import RewardError
from morl.reward.environment import EnvironmentFailedError
from morl.reward.values import NoScoreError, OutOfBoundsError
from morl.types import Completion

_log = logging.getLogger(__name__)
_VALUE_LENGTH, _MOST_COLUMNS = 60, 12
_FEW = 4  # completions, of which it is no wonder that a reward applies to none


@frozen
class Tally:
    """What became of the completions that one rank has asked a reward about in a step.

    Attributes:
        asked: number of completions.
        failed: those on which it failed.
        example: the first failure, as a text; empty if there is none.
        missing: those to which it gave no score without failing.
    """

    asked: int = 0
    failed: int = 0
    example: str = ""
    missing: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.asked + other.asked,
            self.failed + other.failed,
            self.example or other.example,
            self.missing + other.missing,
        )


@define(eq=False)
class Health:
    """Counts the steps in a row in which a reward failed on every completion.

    Args:
        patience: steps in a row that end the run, by reward name; None never ends it.
        of_environment: names whose failures are those of the environment.
    """

    patience: Mapping[str, int | None]
    of_environment: Collection[str] = ()
    _tallies: dict[str, Tally] = field(factory=dict, init=False)
    _has_scored: set[str] = field(factory=set, init=False)
    _in_a_row: dict[str, int] = field(factory=dict, init=False)
    _all_missing: set[str] = field(factory=set, init=False)

    def may_end(self, name: str, asked: int) -> bool:
        """Whether the next `judge` ends the run if this reward failed on all that every rank asked it about."""
        return asked > 1 and self.patience.get(name) is not None and name not in self._has_scored

    def add(self, name: str, tally: Tally) -> None:
        """What a call of this rank had for result."""
        self._tallies[name] = self._tallies.get(name, Tally()) + tally

    def take(self) -> dict[str, Tally]:
        """What this rank has counted since the last call."""
        taken, self._tallies = self._tallies, {}
        return taken

    def judge(self, ranks: Sequence[Mapping[str, Tally]]) -> None:
        """Looks at a whole step, which every rank sees alike.

        A reward has failed in the step where it failed on every completion, two at least: one alone is no evidence.

        Args:
            ranks: what each of them took.

        Raises:
            RewardError: a reward has failed too often, or on its first step, without ever giving a score.
        """
        for name, patience in self.patience.items():
            total = sum((rank.get(name, Tally()) for rank in ranks), Tally())
            if total.failed < total.asked:
                self._notice_missing(name, total)
                self._has_scored.add(name)
                self._in_a_row[name] = 0
            elif total.failed > 1 and patience is not None:
                self._in_a_row[name] = in_a_row = self._in_a_row.get(name, 0) + 1
                if name not in self._has_scored or in_a_row >= patience:
                    raise RewardError(self._message(name, total, in_a_row))

    def _notice_missing(self, name: str, total: Tally) -> None:
        """A reward that has no score for anything is not wrong, as rewards of rare cases are, but seldom meant."""
        if total.missing < total.asked or total.asked < _FEW or name in self._has_scored | self._all_missing:
            return
        self._all_missing.add(name)
        _log.warning(
            "reward %r gave none of the %d completions of its first step a score: None and NaN say that it does not"
            " apply, so nothing is learned from it",
            name,
            total.asked,
        )

    def _message(self, name: str, total: Tally, in_a_row: int) -> str:
        if name in self.of_environment:
            what, where, given = "the environment", f"in all {total.failed} conversations", "ended one well"
            end = "set environment.max_failed_steps to null to train on what `environment.on_failure` makes of it"
        else:
            what, where, given = f"reward {name!r}", f"on all {total.failed} completions", "given a score"
            end = "set its max_failed_steps to null to train without its scores"
        if name in self._has_scored:
            when = f"{in_a_row} steps in a row, of the last {where}"
        else:
            when = f"{where} of its first step, and has never {given}"
        reason, _, details = total.example.partition("\n")
        return f"{what} failed {when}: {reason}\nmend it, or {end}\n{details}".rstrip()


def describe(error: BaseException, completion: Completion, text: str) -> str:
    """A failure with all that helps to find its cause: the error, what the reward was given, the traceback.

    Args:
        error: what was raised.
        completion: that it was raised for.
        text: of the completion, shortened.
    """
    columns = [f"  {key}: {_short(value)}" for key, value in completion.prompt.columns.items()]
    more = [f"  and {len(columns) - _MOST_COLUMNS} more"] if len(columns) > _MOST_COLUMNS else []
    content = completion.prompt.content
    raised = error.with_traceback(their_part(error.__traceback__))
    return "\n".join(
        [
            in_a_line(error),
            f"prompt: {'text' if isinstance(content, str) else 'chat messages'}, {_short(content)}",
            f"completion: {text}",
            "columns:" if columns else "columns: none",
            *columns[:_MOST_COLUMNS],
            *more,
            *(["".join(traceback.format_exception(raised)).rstrip()] if raised.__traceback__ else []),
        ]
    )


def in_a_line(error: BaseException) -> str:
    """What went wrong; the kind of error besides, unless morl says itself that a value is no score or what failed."""
    text = " ".join(str(error).split())
    ours = isinstance(error, NoScoreError | OutOfBoundsError | EnvironmentFailedError)
    return text if ours else f"{type(error).__name__}: {text}".rstrip(": ")


def their_part(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from where it leaves morl on; whole where it does not."""
    at = trace
    while at is not None and at.tb_frame.f_globals.get("__name__", "").partition(".")[0] == "morl":
        at = at.tb_next
    return at or trace


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _VALUE_LENGTH else f"{shown[:_VALUE_LENGTH]} ... ({type(value).__name__})"
