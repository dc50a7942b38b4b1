"""Rewards of the single-turn categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from attrs import field, frozen

from morl.errors import ConfigError, DataError
from morl.types import Completion
from morl_bfcl.calls import Call, read_reply
from morl_bfcl.categories import MULTI_TURN, SINGLE_TURN, expand
from morl_bfcl.matching import calls_fit


@frozen
class BFCLMatch:
    """Whether the calls of a completion are those of the reference answer, by BFCL's rules: 0 or 1.

    Of the categories of irrelevance, 1 is a completion without calls, of relevance, one with any.  See
    `morl_bfcl.matching` for the rules, `morl_bfcl.calls` for how calls are read.
    """

    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    required_columns: ClassVar[tuple[str, ...]] = ("category", "functions", "answer")

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """1 or 0 each."""
        return [float(_fits(completion)) for completion in completions]


@frozen
class BFCLMatchByCategory:
    """`bfcl-ast` as one reward for each category, missing for prompts of the others.

    So `morl evaluate` has a mean with its interval for each category.

    Args:
        categories: names or groups, as the option `category` of the prompts; the rewards bear the categories' names.

    Raises:
        ConfigError: a category that is unknown or not supported, or one of several turns.
    """

    required_columns: ClassVar[tuple[str, ...]] = BFCLMatch.required_columns

    categories: Sequence[str] = ("python",)
    reward_names: tuple[str, ...] = field(init=False)

    @reward_names.default
    def _expanded(self) -> tuple[str, ...]:
        names = expand(self.categories)
        several = [name for name in names if name in MULTI_TURN]
        if several:
            raise ConfigError(f"bfcl-ast-by-category is for single-turn categories; got {', '.join(several)}")
        return names

    @property
    def reward_bounds(self) -> dict[str, tuple[float, float]]:
        return dict.fromkeys(self.reward_names, BFCLMatch.reward_bounds)

    def score(self, completions: Sequence[Completion]) -> dict[str, list[float | None]]:
        """1 or 0 each under the name of its category, None under the others."""
        scores = {name: [None] * len(completions) for name in self.reward_names}
        found: dict[str, list[float | None]] = {name: list(values) for name, values in scores.items()}
        for place, completion in enumerate(completions):
            category = completion.prompt.columns["category"]
            if category in found:
                found[category][place] = float(_fits(completion))
        return found


@frozen
class BFCLFormat:
    """1 where a completion is written as calls, at least one, else 0; missing for the categories of irrelevance.

    What is called does not matter.
    """

    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    required_columns: ClassVar[tuple[str, ...]] = ("category",)

    def score(self, completions: Sequence[Completion]) -> list[float | None]:
        """1, 0 or None each."""
        return [
            None if "irrelevance" in completion.prompt.columns["category"] else float(bool(_calls(completion)))
            for completion in completions
        ]


def _calls(completion: Completion) -> tuple[Call, ...] | None:
    return read_reply(completion.turns[-1].reply)


def _fits(completion: Completion) -> bool:
    columns = completion.prompt.columns
    category = columns["category"]
    calls = _calls(completion)
    if "relevance" in category:  # which "irrelevance" has, too
        return bool(calls) is not ("irrelevance" in category)
    if category not in SINGLE_TURN:
        raise DataError(f"bfcl-ast scores BFCL's single-turn categories; got a prompt of {category!r}")
    return calls is not None and calls_fit(category, columns["functions"], calls, columns["answer"])
