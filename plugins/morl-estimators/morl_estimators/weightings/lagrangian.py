"""Constraints on rewards and on the number of tokens, held by multipliers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import define, field
from torch import Tensor

from morl.errors import ConfigError
from morl.types import Advantages, RewardMatrix
from morl_estimators.options import number, rewards_exist
from morl_estimators.statistics import batch_moments

_KINDS = ("at_least", "at_most", "tokens_at_most")


def _constraint(name: str, given: object) -> tuple[str, float]:
    """Kind and limit."""
    what = f"the constraint on reward {name!r}"
    if not isinstance(given, Mapping) or len(given) != 1 or not set(given) <= set(_KINDS):
        raise ConfigError(f"{what} must be {{KIND: <number>}} with one KIND of {', '.join(_KINDS)}; got {given!r}")
    ((kind, limit),) = given.items()
    return kind, number(f"{kind} of {what}", limit, above=0 if kind == "tokens_at_most" else None)


@define(eq=False)
class Lagrangian:
    """Constraints with multipliers: Constrained GRPO (arXiv 2602.05863), token budgets: LACONIC (arXiv 2602.14468).

        maximise the unconstrained rewards subject to the constraints, by dual ascent on the multipliers:

        at_least c:        w_k <- + w_k lambda_k,   violation_k = c - mean_batch r_k
        at_most c:         w_k <- - w_k lambda_k,   violation_k = mean_batch r_k - c
        tokens_at_most n:  w_k <- + w_k lambda_k,   violation_k = mean tokens of a completion / n - 1

        lambda_k <- min(max(lambda_k + lr violation_k, 0), ceiling)   after every step

    Multipliers weigh *normalised* rewards where the estimator is `gdpo`, which is what Constrained GRPO proposes.  A
    token budget belongs to a reward that is higher for shorter completions, such as `token-cost`; its multiplier
    follows the length itself.  Rewards without a constraint keep their weights.  A constrained reward whose multiplier
    is 0 is left out.

    Read: the abstracts of both papers and summaries of the first; that lengths are counted in units of the budget is
    from notes.

    Args:
        constraints: by reward name, one of `{at_least: ..}`, `{at_most: ..}` and `{tokens_at_most: ..}`.
        lr: step size of the multipliers.
        start: multipliers of the first step.
        ceiling: the largest multiplier.

    Raises:
        ConfigError: no constraint, one of another form, or numbers out of range; a constraint on an unknown reward.

    >>> budget = Lagrangian({"r1": {"at_least": 0.5}}, lr=0.1)
    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 0.0], [1.0, 0.0]]]))
    >>> from morl.advantage import GDPO
    >>> for step in range(2):
    ...     budget.update(rewards, GDPO(weighting=budget)(rewards))
    >>> [round(weight, 6) for weight in budget(rewards).tolist()]     # two steps of 0.1 (0.5 - 0)
    [1.0, 0.1]
    """

    constraints: Mapping[str, Any]
    lr: float = 0.01
    start: float = 0.0
    ceiling: float = 10.0
    _limits: dict[str, tuple[str, float]] = field(init=False, repr=False)
    _multipliers: dict[str, float] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.constraints, Mapping) or not self.constraints:
            raise ConfigError(
                f"lagrangian needs constraints, such as {{safe: {{at_least: 0.9}}}}; got {self.constraints!r}"
            )
        self._limits = {name: _constraint(name, given) for name, given in self.constraints.items()}
        number("lr of lagrangian", self.lr, above=0)
        number("start of lagrangian", self.start, least=0)
        number("ceiling of lagrangian", self.ceiling, above=0)
        if self.start > self.ceiling:
            raise ConfigError(f"lagrangian begins at start={self.start:g}, above its ceiling={self.ceiling:g}")
        self._multipliers = dict.fromkeys(self._limits, float(self.start))

    @property
    def multipliers(self) -> dict[str, float]:
        """The present multipliers, by reward name."""
        return dict(self._multipliers)

    def check_rewards(self, names: Sequence[str]) -> None:
        """Whether the rewards with constraints exist; called before training."""
        rewards_exist("the constraints of lagrangian", self._limits, names)

    def check_bounds(self, bounds: Mapping[str, tuple[float, float]], weights: Mapping[str, float]) -> None:
        """Whether the limits can be met; a multiplier would rise to its ceiling, and tell nobody."""
        for name, (kind, limit) in self._limits.items():
            low, high = bounds.get(name, (-math.inf, math.inf))
            if (kind == "at_least" and limit > high) or (kind == "at_most" and limit < low):
                raise ConfigError(
                    f"the constraint {{{kind}: {limit:g}}} on reward {name!r} can never be met: its bounds are"
                    f" [{low:g}, {high:g}]"
                )

    def __call__(self, rewards: RewardMatrix) -> Tensor:
        """(K,), in the order of the names."""
        self.check_rewards(rewards.names)
        factors = [self._factor(name) for name in rewards.names]
        return rewards.weights_K * torch.tensor(factors, dtype=torch.float64, device=rewards.values_BK.device)

    def _factor(self, name: str) -> float:
        if name not in self._limits:
            return 1.0
        return self._multipliers[name] * (-1.0 if self._limits[name][0] == "at_most" else 1.0)

    def update(self, rewards: RewardMatrix, advantages: Advantages) -> None:
        """One step of dual ascent; a constraint that nothing in the batch speaks about stays as it is."""
        mean_K, _, peak_K = batch_moments(rewards.values_BK, rewards.valid_BK)
        means = dict(zip(rewards.names, (mean_K * peak_K).tolist(), strict=True))
        present = dict(zip(rewards.names, rewards.valid_BK.any(0).tolist(), strict=True))
        for name, (kind, limit) in self._limits.items():
            if kind == "tokens_at_most":
                if rewards.lengths_B is None:
                    raise ConfigError(f"the token budget of reward {name!r} needs the lengths of the completions")
                violation = int(rewards.lengths_B.sum()) / max(len(rewards.lengths_B), 1) / limit - 1
            elif present[name]:
                violation = limit - means[name] if kind == "at_least" else means[name] - limit
            else:
                continue
            self._multipliers[name] = min(max(self._multipliers[name] + self.lr * violation, 0.0), self.ceiling)

    def state_dict(self) -> dict[str, Any]:
        """The multipliers."""
        return {"multipliers": dict(self._multipliers)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Those of a checkpoint.

        Raises:
            ConfigError: they belong to other constraints.
        """
        saved = dict(state["multipliers"])
        if set(saved) != set(self._limits):
            raise ConfigError(
                f"the checkpoint has multipliers of {', '.join(sorted(saved))}; the constraints are on"
                f" {', '.join(sorted(self._limits))}"
            )
        self._multipliers = {name: float(saved[name]) for name in self._limits}
