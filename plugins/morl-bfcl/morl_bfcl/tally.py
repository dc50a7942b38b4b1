"""The rewards of an episode as it goes on."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

_GRID = 2**40
"""Shares are rounded to multiples of 1 / this, of which sums are exact: a third three times is 1, not a bit more."""


@define(eq=False)
class Tally:
    """Counts, and the rewards that follow from them.

    An answer gives what a reward has gained since the one before, so that the sum over an episode is the reward, also
    of one that is cut short.

    Attributes:
        needed: turns that need calls.
        idle: turns in which no call is right.
        state, response, both: of those that need calls, turns whose state, results, and both match.
        quiet: of the idle ones, turns without a call.
        calls, failures: calls, and those that failed.
    """

    needed: int
    idle: int
    state: int = 0
    response: int = 0
    both: int = 0
    quiet: int = 0
    calls: int = 0
    failures: int = 0
    _given: dict[str, float] = field(factory=dict, init=False)

    @classmethod
    def of(cls, answer: Sequence[Sequence[str]]) -> Tally:
        """Nothing done yet.

        Args:
            answer: the reference calls of each turn.
        """
        needed = sum(bool(calls) for calls in answer)
        return cls(needed, len(answer) - needed)

    def given(self, finished: bool) -> dict[str, float | None]:
        """What the next answer gives; None for `quiet` where no turn is idle.

        Args:
            finished: the last turn is over.
        """
        now = {
            "solved": float(finished and self.both == self.needed),
            "state": _share(self.state, self.needed),
            "response": _share(self.response, self.needed),
            "quiet": _share(self.quiet, self.idle),
            "failed": _share(self.failures, self.calls),
        }
        gained: dict[str, float | None] = {name: value - self._given.get(name, 0.0) for name, value in now.items()}
        self._given = now
        return gained if self.idle else gained | {"quiet": None}


def _share(part: int, whole: int) -> float:
    return round(part / whole * _GRID) / _GRID if whole else 0.0
