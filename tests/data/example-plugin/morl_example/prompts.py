"""Prompts that ask for one sentence with given words."""

from __future__ import annotations

from random import Random

from attrs import field, frozen, validators

from morl.errors import ConfigError
from morl.types import Prompt

WORDS = (
    "anchor",
    "basket",
    "candle",
    "desert",
    "engine",
    "feather",
    "garden",
    "hammer",
    "island",
    "jacket",
    "kettle",
    "ladder",
    "mirror",
    "needle",
    "orange",
    "pillow",
    "quarry",
    "ribbon",
    "saddle",
    "tunnel",
    "umbrella",
    "velvet",
    "window",
    "yellow",
)


@frozen
class WordList:
    """Prompts `Write one sentence with these words: ..` with the column `keywords`, made on the spot.

    Args:
        size: number of prompts.
        words: keywords of each.
        seed: of the choice of words; training and evaluation should have seeds of their own.

    Raises:
        ConfigError: more keywords than the list has.
    """

    size: int = field(default=256, validator=validators.ge(1))
    words: int = field(default=3, validator=validators.ge(1))
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        if self.words > len(WORDS):
            raise ConfigError(f"words must be at most {len(WORDS)}, the length of the list; got {self.words}")

    def load(self) -> list[Prompt]:
        """The same prompts on every call and every rank."""
        random = Random(self.seed)
        return [self._prompt(random.sample(WORDS, self.words)) for _ in range(self.size)]

    def _prompt(self, keywords: list[str]) -> Prompt:
        text = f"Write one sentence with these words: {', '.join(keywords)}."
        return Prompt(text, {"keywords": keywords})
