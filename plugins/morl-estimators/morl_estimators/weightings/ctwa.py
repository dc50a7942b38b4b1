"""CTWA: weights rise while a reward and the advantages have too little to do with each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import define, field
from torch import Tensor

from morl.advantage import Groups
from morl.errors import ConfigError
from morl.types import Advantages, RewardMatrix
from morl_estimators.options import number, rewards_exist
from morl_estimators.statistics import batch_moments


def _target(name: str, given: object) -> tuple[float, float]:
    """Covariance to reach, and mean reward from which the weight no longer rises."""
    entry = given if isinstance(given, Mapping) else {"covariance": given}
    if "covariance" not in entry or not set(entry) <= {"covariance", "mean"}:
        raise ConfigError(
            f"the target of reward {name!r} must be a covariance, or {{covariance: <number>, mean: <number>}};"
            f" got {given!r}"
        )
    covariance = number(f"the target covariance of reward {name!r}", entry["covariance"])
    mean = number(f"the target mean of reward {name!r}", entry["mean"]) if "mean" in entry else math.inf
    return covariance, mean


@define(eq=False)
class CTWA:
    """Covariance-targeted weight adaptation (arXiv 2602.06869).

        c_k   = mean over groups of cov_G(A, r_k), ddof 0, without completions of |A| > 100 median |A|
        ema_k <- (1 - tau) ema_k + tau c_k,   c_k in the first step
        log w_k <- log w_k + lr max(0, target_k - ema_k)   while mean_batch r_k < the target mean
        w_k   = the weight of the config times what it has risen by; it never falls

    Weights act one step later.  A group counts where two or more of its completions have the reward.

    Read: the released code (`_ctwa_update_weights_from_metrics`, and `compute_ctwa_stats`, which feeds it).  There the
    advantages are averaged over tokens, times the ratio after the update, without those that the clip stops: the ones
    here only on policy.  Correlations in place of covariances, and statistics over all groups at once, are left out.

    Args:
        targets: by reward name, the covariance to reach, or `{covariance: .., mean: ..}`.
        lr: step size of the logarithm of the weights.
        tau: share of the newest step in the moving average.

    Raises:
        ConfigError: no target, one of another form, numbers out of range, a target for an unknown reward.

    A reward with covariance 0 and target 0.5 rises by exp(0.1 * 0.5) in a step:

    >>> weighting = CTWA({"r1": 0.5}, lr=0.1)
    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]))
    >>> from morl.advantage import GDPO
    >>> weighting.update(rewards, GDPO(weighting=weighting)(rewards))
    >>> [round(weight, 6) for weight in weighting(rewards).tolist()]
    [1.0, 1.051271]
    """

    targets: Mapping[str, Any]
    lr: float = 0.02
    tau: float = 0.1
    _goals: dict[str, tuple[float, float]] = field(init=False, repr=False)
    _averages: dict[str, float] = field(init=False, repr=False, factory=dict)
    _risen: dict[str, float] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.targets, Mapping) or not self.targets:
            raise ConfigError(f"ctwa needs targets, such as {{correct: 0.2}}; got {self.targets!r}")
        self._goals = {name: _target(name, given) for name, given in self.targets.items()}
        number("lr of ctwa", self.lr, above=0)
        number("tau of ctwa", self.tau, above=0)
        if self.tau > 1:
            raise ConfigError(f"tau of ctwa is a share, at most 1; got {self.tau:g}")
        self._risen = dict.fromkeys(self._goals, 0.0)

    def check_rewards(self, names: Sequence[str]) -> None:
        """Whether the rewards with targets exist; called before training."""
        rewards_exist("the targets of ctwa", self._goals, names)

    def __call__(self, rewards: RewardMatrix) -> Tensor:
        """(K,), in the order of the names."""
        self.check_rewards(rewards.names)
        factors = [math.exp(self._risen.get(name, 0.0)) for name in rewards.names]
        return rewards.weights_K * torch.tensor(factors, dtype=torch.float64, device=rewards.values_BK.device)

    def update(self, rewards: RewardMatrix, advantages: Advantages) -> None:
        """Covariances of this step into the averages, and weights up where those are below their targets."""
        mean_K, _, peak_K = batch_moments(rewards.values_BK, rewards.valid_BK)
        covariances = covariances_with(advantages.values_B, rewards)
        for k, name in enumerate(rewards.names):
            if name not in self._goals or covariances[k] is None:
                continue
            covariance, (target, enough) = covariances[k], self._goals[name]
            before = self._averages.get(name, covariance)
            self._averages[name] = (1 - self.tau) * before + self.tau * covariance
            if float(mean_K[k] * peak_K[k]) < enough:
                self._risen[name] += self.lr * max(0.0, target - self._averages[name])

    def state_dict(self) -> dict[str, Any]:
        """Moving averages, and logarithms of what weights have risen by."""
        return {"averages": dict(self._averages), "risen": dict(self._risen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Those of a checkpoint.

        Raises:
            ConfigError: they belong to other targets.
        """
        if set(state["risen"]) != set(self._goals):
            raise ConfigError(
                f"the checkpoint has weights of {', '.join(sorted(state['risen']))}; the targets are for"
                f" {', '.join(sorted(self._goals))}"
            )
        self._averages = {name: float(value) for name, value in state["averages"].items()}
        self._risen = {name: float(state["risen"][name]) for name in self._goals}


def covariances_with(advantages_B: Tensor, rewards: RewardMatrix) -> list[Any]:
    """c_k of `CTWA` for each reward; None where no group has two completions with it."""
    advantages_B = advantages_B.double()
    size_B = advantages_B.abs()
    median = float(size_B.quantile(0.5)) if len(size_B) else 0.0
    kept_B1 = (size_B <= 100 * median)[:, None] if median > 0 else torch.ones_like(size_B, dtype=torch.bool)[:, None]
    valid_BK = rewards.valid_BK & kept_B1
    groups = Groups.of(rewards.group_ids_B)
    values_BK = rewards.values_BK.double().masked_fill(~valid_BK, 0.0)
    peak_K = values_BK.abs().amax(0).clamp(min=torch.finfo(torch.float64).tiny)
    peak = size_B.max().clamp(min=torch.finfo(torch.float64).tiny)
    number_PK = groups.number(valid_BK)

    def centred(units_BK: Tensor) -> Tensor:
        """Halves of the deviations from the mean of each group, in [-1, 1]."""
        units_BK = units_BK.masked_fill(~valid_BK, 0.0)
        mean_PK = groups.sum(units_BK) / number_PK.clamp(min=1)
        return ((units_BK - groups.rows(mean_PK)) / 2).masked_fill(~valid_BK, 0.0)

    products_BK = centred((advantages_B / peak)[:, None].expand_as(values_BK)) * centred(values_BK / peak_K)
    covariance_PK = 4 * groups.sum(products_BK) / number_PK.clamp(min=1)
    counted_PK = number_PK > 1
    total_K = covariance_PK.masked_fill(~counted_PK, 0.0).sum(0)
    found_K = total_K / counted_PK.sum(0).clamp(min=1) * peak * peak_K
    return [value if any_ else None for value, any_ in zip(found_K.tolist(), counted_PK.any(0).tolist(), strict=True)]
