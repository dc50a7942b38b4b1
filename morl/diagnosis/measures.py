"""What the initial policy earns: each reward by itself, and what one reward costs in another.

Everything is about differences within groups, for these are all that an estimator sees.  Intervals are over prompts.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

import torch
from attrs import frozen
from torch import Tensor

from morl.advantage.deviations import deviations
from morl.advantage.groups import Groups
from morl.analysis.statistics import mean_interval
from morl.runtime.estimates import Estimate, estimate, pass_at_k, prompt_means
from morl.types import RewardMatrix


@frozen
class RewardState:
    """One reward under the initial policy.

    Attributes:
        mean: of the reward.
        threshold: score from which on a completion is successful; None where nothing says which.
        success: share of successful completions.
        varies: share of the groups in which the reward varies.
        solved: pass@G, the chance that one of a group's completions is successful.
    """

    mean: Estimate
    threshold: float | None
    success: Estimate | None
    varies: Estimate
    solved: Estimate | None


@frozen
class Price:
    """What one reward costs in another: how much of `of` is lost where `reward` rises by one, within groups.

    Attributes:
        reward: that rises.
        of: that pays.
        lost: d = -sum (r - mean_group r)(s - mean_group s) / sum (r - mean_group r)^2; None where r never varies.
        low, high: its interval over prompts; None with fewer than two prompts in which r varies.
    """

    reward: str
    of: str
    lost: float | None
    low: float | None
    high: float | None


def reward_states(
    matrix: RewardMatrix, group_size: int, success: Mapping[str, float], from_reference: Collection[str] = ()
) -> dict[str, RewardState]:
    """Each reward by name.

    Args:
        matrix: of completions of the initial policy.
        group_size: G, of pass@G.
        success: reward -> score from which on a completion is successful; where a reward is not named its upper bound
            is taken, or 1 where it scores nothing but 0 and 1.
        from_reference: rewards that are 0 because the policy is its reference, which says nothing of a success.
    """
    groups, centred_BK = Groups.of(matrix.group_ids_B), centred(matrix)
    varying_PK = groups.max(centred_BK.abs()) > 0
    values_BK = matrix.values_BK.double().masked_fill(~matrix.valid_BK, torch.nan)
    found: dict[str, RewardState] = {}
    for k, name in enumerate(matrix.names):
        known = None if name in from_reference else _success(values_BK[:, k], matrix.bounds.get(name))
        threshold = success.get(name, known)
        varies = estimate(varying_PK[:, k].double().tolist(), share=True)
        found[name] = _state(values_BK[:, k], matrix.group_ids_B, varies, threshold, group_size)
    return found


def prices(matrix: RewardMatrix) -> list[Price]:
    """What each reward costs in each other one."""
    return [_price(matrix, k, j) for k, j in itertools.permutations(range(len(matrix.names)), 2)]


def centred(matrix: RewardMatrix) -> Tensor:
    """Each reward minus its mean over the group, (B, K); exactly 0 where it is missing or the group does not vary."""
    groups = Groups.of(matrix.group_ids_B)
    parts = deviations(matrix, groups, torch.ones(len(matrix.names), dtype=torch.float64))
    return parts.units_BK * groups.rows(parts.range_PK) / parts.shrink


def group_sums(groups: Groups, values_B: Tensor) -> Tensor:
    """Sums over the groups, (B,) to (P,)."""
    return torch.zeros(len(groups.sizes_P), dtype=torch.float64).index_add_(0, groups.index_B, values_B.double())


def _state(
    values_B: Tensor, groups_B: Tensor, varies: Estimate, threshold: float | None, group_size: int
) -> RewardState:
    mean = estimate(prompt_means(values_B, groups_B))
    if threshold is None:
        return RewardState(mean, None, None, varies, None)
    passed_B = torch.where(values_B.isnan(), values_B, (values_B >= threshold).double())
    success = estimate(prompt_means(passed_B, groups_B), share=True)
    solved = estimate(pass_at_k(passed_B, groups_B, group_size), share=True)
    return RewardState(mean, threshold, success, varies, solved)


def _success(values_B: Tensor, bounds: tuple[float, float] | None) -> float | None:
    if bounds is not None:
        return float(bounds[1])
    known_B = values_B[~values_B.isnan()]
    return 1.0 if bool(((known_B == 0) | (known_B == 1)).all()) else None


def _price(matrix: RewardMatrix, k: int, j: int) -> Price:
    names = matrix.names[k], matrix.names[j]
    both_B = matrix.valid_BK[:, [k, j]].all(1)
    if not both_B.any():
        return Price(*names, None, None, None)
    pair = RewardMatrix(matrix.values_BK[both_B][:, [k, j]], matrix.group_ids_B[both_B], names)
    groups, centred_B2 = Groups.of(pair.group_ids_B), centred(pair)
    products_P = group_sums(groups, centred_B2[:, 0] * centred_B2[:, 1])
    squares_P = group_sums(groups, centred_B2[:, 0].square())
    products, squares = products_P[squares_P > 0], squares_P[squares_P > 0]
    if not len(squares):
        return Price(*names, None, None, None)
    lost = 0.0 - float(products.sum() / squares.sum())  # never -0.0
    if len(squares) == 1:
        return Price(*names, lost, None, None)
    # To first order the ratio is the mean of what each prompt moves it by.
    moved = lost - (products + lost * squares) / squares.mean()
    return Price(*names, lost, *mean_interval(moved.tolist()))
