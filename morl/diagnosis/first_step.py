"""What an estimator's first step pushes up or down, and from which weight on it would not push a reward down.

One step of gradient ascent on E[A log pi] moves the expected reward r_k of a group by about Cov(A, r_k) within it, as
far as the policy can move the probabilities of its completions by themselves.  So the sign of the mean covariance over
prompts says where a reward goes at first.
"""

from __future__ import annotations

from attrs import evolve, frozen
from torch import Tensor

from morl.advantage.groups import Groups
from morl.analysis.statistics import mean_interval
from morl.diagnosis.measures import centred, group_sums
from morl.hookspecs import AdvantageEstimator
from morl.types import RewardMatrix

HIGHEST_WEIGHT = 1000.0
"""Where the search for a weight ends, as a multiple of the weight that the reward has."""
_HALVINGS = 40


@frozen
class Push:
    """How an estimator's first step moves a reward.

    Attributes:
        covariance: mean over prompts of the covariance of advantage and reward within the group.
        low, high: its interval over prompts; None with a single prompt.
        correlation: the same divided by the root mean squares of both within groups, from -1 to 1, which can be
            compared between rewards and estimators; 0 where one of them never varies.
    """

    covariance: float
    low: float | None
    high: float | None
    correlation: float

    @property
    def direction(self) -> str:
        """`up`, `down`, or `unclear` where the interval holds 0."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "unclear"
        return "up" if self.covariance > 0 else "down"

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the correlation, whose divisor is taken as known."""
        if self.low is None or self.high is None:
            return None
        scale = self.correlation / self.covariance if self.covariance else 0.0
        return max(-1.0, self.low * scale), min(1.0, self.high * scale)


def pushes(estimator: AdvantageEstimator, matrix: RewardMatrix) -> dict[str, Push]:
    """What the estimator's first step does to each reward, by name."""
    advantages_B, centred_BK = estimator(matrix).values_B.double(), centred(matrix)
    groups = Groups.of(matrix.group_ids_B)
    return {name: _push(advantages_B, centred_BK[:, k], groups) for k, name in enumerate(matrix.names)}


def needed_weight(estimator: AdvantageEstimator, matrix: RewardMatrix, name: str) -> float | None:
    """The smallest weight above the present one with which the estimator does not push a reward down.

    Of the plain sum, where advantages are s - mean_group s, it is what the reward costs in the others, weighted:
    d = -sum_j w_j Cov(r_j, r_k) / Var(r_k), all within groups.  Other estimators are asked with the sample.

    Returns:
        None where a thousand times the weight is not enough, or the reward has none.
    """
    now = float(matrix.weights.get(name, 1.0))
    centred_B = centred(matrix)[:, matrix.names.index(name)]

    def falls(weight: float) -> bool:
        weighted = evolve(matrix, weights={**matrix.weights, name: weight})
        return float((estimator(weighted).values_B.double() * centred_B).sum()) < 0

    if not falls(now):
        return now
    low, high = now, 2 * now
    while falls(high):
        low, high = high, 2 * high
        if not now or high > HIGHEST_WEIGHT * now:
            return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) else (low, middle)
    return high


def _push(advantages_B: Tensor, centred_B: Tensor, groups: Groups) -> Push:
    # Centred rewards add up to 0 in their group, so the mean of the advantages does not matter.
    covariances = (group_sums(groups, advantages_B * centred_B) / groups.sizes_P).tolist()
    mean = sum(covariances) / len(covariances)
    scale = float(advantages_B.square().mean().sqrt() * centred_B.square().mean().sqrt())
    low, high = mean_interval(covariances) if len(covariances) > 1 else (None, None)
    return Push(mean, low, high, mean / scale if scale else 0.0)
