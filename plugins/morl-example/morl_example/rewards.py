"""Two rewards that pull in different directions: use the given words, and do not repeat yourself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from attrs import frozen

from morl.errors import ConfigError, DataError
from morl.types import Completion


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


@frozen
class Keywords:
    """Share of the prompt's keywords that the completion uses as whole words, in any case.

    Args:
        column: of the prompt, a list of keywords; a row whose list is empty gets no score.
    """

    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    column: str = "keywords"

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Checked before training: a data set without the column is refused, not scored 0."""
        return (self.column,)

    def score(self, completions: Sequence[Completion]) -> list[float | None]:
        return [self._score(completion) for completion in completions]

    def _score(self, completion: Completion) -> float | None:
        wanted = completion.prompt.columns[self.column]
        if not isinstance(wanted, list) or not all(isinstance(keyword, str) for keyword in wanted):
            raise DataError(f"column {self.column!r} must hold a list of keywords; got {wanted!r:.80}")
        if not wanted:
            return None
        used = set(_words(completion.text))
        return sum(keyword.casefold() in used for keyword in wanted) / len(wanted)


@frozen
class DistinctNgrams:
    """Share of the completion's word n-grams that are distinct (distinct-n, arXiv 1510.03055): 1 if none is repeated.

    A completion of fewer than n words has no n-gram, so the reward does not apply to it.

    Args:
        n: words in a row that make up an n-gram.

    Raises:
        ConfigError: n below 1.
    """

    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    n: int = 3

    def __attrs_post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"n must be at least 1 word; got {self.n}")

    def score(self, completions: Sequence[Completion]) -> list[float | None]:
        return [self._score(completion.text) for completion in completions]

    def _score(self, text: str) -> float | None:
        words = _words(text)
        ngrams = [tuple(words[start : start + self.n]) for start in range(len(words) - self.n + 1)]
        return len(set(ngrams)) / len(ngrams) if ngrams else None
