"""Several prompt sources as one, mixed by weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attrs import field, frozen

from morl.errors import ConfigError, DataError
from morl.hookspecs import PromptSource
from morl.types import Prompt


@frozen(eq=False)
class Weighted:
    """One source of a mixture."""

    source: PromptSource
    weight: float


@frozen(eq=False)
class Mixture:
    """Prompts of several sources, each with a share of the epoch in proportion to its weight.

    An epoch shows every row of every source at least once; rows of a source that has more weight than rows come back
    within it, the first ones first.  Without shuffling, the sources take turns in proportion to their weights.

    Attributes:
        sources: by name, a prompt source with its options, and its `weight` (1 by default):
            `{math: {name: jsonl, path: math.jsonl, weight: 3}, chat: {name: jsonl, path: chat.jsonl}}`.
        column: that tells rewards, and their `when`, the name of a prompt's source.

    Raises:
        ConfigError: no source, a weight that is not a positive number.
    """

    made_of_sources: ClassVar[bool] = True

    sources: Mapping[str, Any] = field()
    column: str = "source"

    def __attrs_post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("sources must name at least one prompt source; got none")
        for name, part in self.sources.items():
            weight = part.weight
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
                raise ConfigError(f"the weight of source {name!r} must be a positive number; got {weight!r}")

    @property
    def source_column(self) -> str:
        """By which the figures of a run are told apart."""
        return self.column

    def load(self) -> tuple[Prompt, ...]:
        """One epoch, in memory.

        Raises:
            DataError: as the sources; a source without rows, or whose rows have a column of this name already.
        """
        rows = {name: part.source.load() for name, part in self.sources.items()}
        for name, prompts in rows.items():
            if not len(prompts):
                raise DataError(f"source {name!r} has no prompts")
        marked = {name: [self._marked(name, prompt) for prompt in prompts] for name, prompts in rows.items()}
        weights = {name: part.weight for name, part in self.sources.items()}
        order = turns(weights, {name: len(prompts) for name, prompts in rows.items()})
        return tuple(marked[name][visit % len(marked[name])] for name, visit in order)

    def _marked(self, name: str, prompt: Prompt) -> Prompt:
        if self.column in prompt.columns:
            raise DataError(
                f"the prompts of source {name!r} have a column {self.column!r} of their own; set `column` of the"
                " mixture to another name"
            )
        return Prompt(prompt.content, {**prompt.columns, self.column: name})


def turns(weights: Mapping[str, float], rows: Mapping[str, int]) -> Sequence[tuple[str, int]]:
    """The turns of one epoch: the source, and how many turns it had before.

    It is the shortest in which every source has as many turns as it has rows.  The next turn is that of the source
    which is furthest behind its share, the first one among equals.

    >>> turns({"a": 2, "b": 1}, {"a": 2, "b": 2})
    [('a', 0), ('b', 0), ('a', 1), ('a', 2), ('b', 1)]
    """
    total = math.fsum(weights.values())
    taken = dict.fromkeys(weights, 0)
    order: list[tuple[str, int]] = []
    while any(taken[name] < rows[name] for name in weights):
        behind = {name: weight / total * (len(order) + 1) - taken[name] for name, weight in weights.items()}
        name = max(behind, key=lambda name: behind[name])
        order.append((name, taken[name]))
        taken[name] += 1
    return order
