"""Conversations in a stream of the rollout backend: each can go on while others are sampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import define, evolve, field

from morl.conversation.talk import Drawn, Limits, Stage, Talk
from morl.conversation.waves import Row, drawn_rows
from morl.errors import PluginError
from morl.hookspecs import RolloutStream


@define(eq=False)
class Flow:
    """Which conversations a stream is sampling.

    Args:
        stream: of the rollout backend.
        limits: of a conversation.
    """

    stream: RolloutStream
    limits: Limits
    _rows: dict[int, Row] = field(init=False, factory=dict)
    _number: int = field(init=False, default=0)
    _left: int = field(init=False, default=0)

    @property
    def busy(self) -> bool:
        """Whether anything is being sampled."""
        return self._left > 0

    def add(self, row: Row) -> None:
        """Has the next turn of these conversations sampled."""
        limited = evolve(row.sampling, max_tokens=row.longest(self.limits)[1])
        self._number += 1
        self._rows[self._number] = row
        self._left += len(row.talks)
        self.stream.add(self._number, row.context, len(row.talks), limited, row.seed)
        for talk in row.talks:
            if talk.stage is Stage.READY:  # others of the prompt could not be opened
                talk.stage = Stage.SAMPLING

    def take(self, stop: Callable[[], bool]) -> Iterator[tuple[Talk, Drawn]]:
        """Turns that were sampled; none where `stop()` became true before.

        Raises:
            PluginError: none, and it did not.
        """
        taken = self.stream.take(stop)
        if not taken and self.busy and not stop():
            raise PluginError(f"the stream of the rollout backend gave none of the {self._left} completions it has")
        for number, member, batch in taken:
            self._left -= 1
            talk = self._rows[number].talks[member]
            if talk.stage is Stage.SAMPLING:
                yield talk, next(drawn_rows(batch))
