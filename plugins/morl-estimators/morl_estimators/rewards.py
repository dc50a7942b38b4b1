"""The reward that a token budget acts on."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from morl.errors import ConfigError
from morl.types import Completion
from morl_estimators.options import number


@frozen
class TokenCost:
    """Minus the tokens above a budget, in units of the budget: -min(max(tokens / budget - 1, 0), ceiling).

    The cost of LACONIC (arXiv 2602.14468; read: the abstract and notes, which call it clipped).  Give its weight to the
    multiplier of a budget: `weighting: {name: lagrangian, constraints: {cost: {tokens_at_most: 500}}}`.

    Args:
        budget: tokens that cost nothing, the end-of-sequence token included.
        ceiling: the largest cost.

    Raises:
        ConfigError: a budget below 1, a ceiling that is not a finite number above 0.

    >>> from morl.types import Completion, Prompt
    >>> TokenCost(budget=4).score([Completion(Prompt("hi"), "", tuple(range(n))) for n in (2, 4, 6, 99)])
    [0.0, 0.0, -0.5, -1.0]
    """

    budget: int
    ceiling: float = 1.0

    def __attrs_post_init__(self) -> None:
        if isinstance(self.budget, bool) or not isinstance(self.budget, int) or self.budget < 1:
            raise ConfigError(f"budget of token-cost must be at least 1 token; got {self.budget!r}")
        number("ceiling of token-cost", self.ceiling, above=0)

    @property
    def reward_bounds(self) -> tuple[float, float]:
        """The floor is the largest cost."""
        return -self.ceiling, 0.0

    def score(self, completions: Sequence[Completion]) -> list[float]:
        """0 or less each."""
        costs = [min(max(completion.length / self.budget - 1, 0.0), self.ceiling) for completion in completions]
        return [0.0 - cost for cost in costs]
