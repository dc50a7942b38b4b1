"""The coefficient of the entropy bonus: fixed, or adapted to a target from step to step."""

from __future__ import annotations

import math
from typing import Any

from attrs import define

from morl.artifacts.metrics import ENTROPY, ENTROPY_COEF, Metrics
from morl.config.schema import EntropyConfig

DELTA, LOWEST, HIGHEST = 0.005, 0.0, 1.0
"""Skywork-OR1's step, and bounds."""


@define
class EntropyBonus:
    """What the mean entropy of the tokens is multiplied by.

    With a target (Skywork-OR1, arXiv 2505.22312): where e is the entropy of the last step,

        applied coefficient   c if e <= target else 0
        after the step        c <- clip(c + delta if e <= target else c - delta)

    The entropy of the first step is not known before it, so no bonus is given in it.

    Attributes:
        options: the section `entropy` of the config.
        coef: c.
        last: e.
    """

    options: EntropyConfig
    coef: float
    last: float = math.inf

    @classmethod
    def of(cls, options: EntropyConfig) -> EntropyBonus:
        """As it is at the start of a run."""
        return cls(options, options.coef)

    @property
    def active(self) -> bool:
        """Whether there may be a bonus at all."""
        return self.options.coef > 0 or self.adapts

    @property
    def adapts(self) -> bool:
        """Whether it has a target."""
        return self.options.target is not None

    @property
    def applied(self) -> float:
        """The coefficient of the present step."""
        target = self.options.target
        return self.coef if target is None or self.last <= target else 0.0

    def finish_step(self, metrics: Metrics) -> Metrics:
        """Adapts the coefficient to the entropy of the step that these metrics are of; returns the one it had."""
        applied = {ENTROPY_COEF.name: self.applied} if self.active else {}
        options, entropy = self.options, metrics.get(ENTROPY.name)
        # A step in which every completion was dropped says nothing.
        if options.target is not None and entropy is not None:
            delta = DELTA if options.delta is None else options.delta
            moved = self.coef + (delta if entropy <= options.target else -delta)
            self.coef, self.last = min(max(moved, self.lowest), self.highest), entropy
        return applied

    @property
    def lowest(self) -> float:
        """Bound of the coefficient."""
        return LOWEST if self.options.min_coef is None else self.options.min_coef

    @property
    def highest(self) -> float:
        """Bound of the coefficient."""
        return HIGHEST if self.options.max_coef is None else self.options.max_coef

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint has to hold; None where the config says all."""
        return {"coef": self.coef, "last": self.last} if self.adapts else None

    def load(self, state: dict[str, Any] | None) -> None:
        """Continues from a checkpoint."""
        if state is not None and self.adapts:
            self.coef, self.last = state["coef"], state["last"]
