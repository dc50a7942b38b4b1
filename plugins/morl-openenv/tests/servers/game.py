"""A game for servers: the number is found by guessing; some guesses are accidents."""

from __future__ import annotations

import random
from typing import Any


class Game:
    """One episode of it."""

    def __init__(self, seed: int | None, highest: int = 6) -> None:
        self.number = random.Random(seed).randint(1, highest)
        self.highest = highest
        self.guesses = 0

    def opening(self) -> dict[str, Any]:
        return {"said": f"I think of a number from 1 to {self.highest}.", "guesses": 0}

    def guess(self, guess: str) -> tuple[dict[str, Any], float | None, bool, dict[str, Any]]:
        """Observation, reward, done and metadata."""
        if guess == "raise":
            raise RuntimeError("the game is broken")
        self.guesses += 1
        if not guess.isdigit():
            return {"said": "A number!", "guesses": self.guesses}, None, False, {"guesses": self.guesses}
        away = int(guess) - self.number
        said = "right" if away == 0 else "lower" if away > 0 else "higher"
        metadata = {"guesses": self.guesses, "warmth": 1 / (1 + abs(away))}
        return {"said": said, "guesses": self.guesses}, float(away == 0), away == 0, metadata
