"""An environment: a number is to be guessed, and every guess is answered with "higher" or "lower"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import ClassVar

from attrs import define, field, frozen, validators

from morl.types import CompletionStatus, EnvironmentAnswer, Message, Prompt


@frozen
class Guess:
    """A number from 1 to `highest`, which follows from the seed, so that all conversations of a prompt look for one.

    Two rewards: `found`, and `brief`, the share of the guesses that were left when it was found; None where it was not,
    for then there is nothing to be brief about.

    Args:
        highest: number.
        guesses: that a conversation has.
    """

    reward_names: ClassVar[tuple[str, ...]] = ("found", "brief")
    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    highest: int = field(default=20, validator=validators.ge(1))
    guesses: int = field(default=8, validator=validators.ge(1))

    def open(self, prompt: Prompt, seed: int) -> GuessEpisode:
        """See `morl.hookspecs.Environment`."""
        return GuessEpisode(Random(seed).randint(1, self.highest), self.highest, self.guesses)


@define(eq=False)
class GuessEpisode:
    """One conversation.  Opens with a message of its own."""

    number: int
    highest: int
    left: int
    messages: tuple[Message, ...] = field(init=False)
    _found: bool = field(init=False, default=False)
    _guesses: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._guesses = self.left
        self.messages = ({"role": "user", "content": f"Guess my number, 1 to {self.highest}. Say a number, no more."},)

    def step(self, reply: Message) -> EnvironmentAnswer:
        """See `morl.hookspecs.Episode`."""
        self.left -= 1
        numbers = re.findall(r"\d+", reply["content"])
        guess = int(numbers[-1][:9]) if numbers else None
        self._found = guess == self.number
        if self._found or not self.left:
            return EnvironmentAnswer(done=True)
        hint = "Say a number." if guess is None else "Higher." if guess < self.number else "Lower."
        return EnvironmentAnswer([{"role": "user", "content": hint}])

    def finish(self, status: CompletionStatus) -> Mapping[str, float | None]:
        """The rewards of the whole, also where a limit of the run ended it."""
        return {"found": float(self._found), "brief": self.left / self._guesses if self._found else None}

    def close(self) -> None:
        """Nothing is held."""
