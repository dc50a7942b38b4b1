"""How many advantage groups an estimator can tell apart (GDPO paper, section 3 and figure 3)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from morl.types import Advantages, RewardMatrix


def count_distinct_groups(
    estimator: Callable[[RewardMatrix], Advantages],
    group_size: int,
    ranges: Sequence[Sequence[float]],
    *,
    ordered: bool = False,
    decimals: int = 9,
) -> int:
    """Number of distinct advantage groups over all assignments of reward values to one group.

    Every multiset of completions is a group of ONE batch, so that a single call does it; an estimator's batch step is
    applied to that batch.  Order adds nothing that has to be tried: an estimator that passes the laws of
    `morl.testing` permutes its answer as the completions are permuted, so the ordered groups are the arrangements of
    the unordered ones.

    Args:
        estimator: called once.
        group_size: G, completions of a group.
        ranges: the values that each of the K rewards can take; all rewards have weight 1.
        ordered: count tuples of G advantages instead of multisets.
        decimals: advantages that agree to so many places are one.

    Raises:
        ValueError: no completion, no reward, or a reward without values.

    >>> from morl.advantage import GDPO, GRPO
    >>> binary = [(0, 1), (0, 1)]
    >>> count_distinct_groups(GRPO(eps=0), 2, binary), count_distinct_groups(GDPO(eps=0), 2, binary)
    (2, 3)
    """
    if group_size < 1 or not ranges or not all(ranges):
        raise ValueError(
            f"expected a group size >= 1 and values for each of one or more rewards; got {group_size} and {ranges}"
        )
    advantages_PG = distinct_groups(estimator, group_size, ranges, decimals)
    if not ordered:
        return len(advantages_PG)
    return sum(_arrangements(row) for row in advantages_PG.tolist())


def distinct_groups(
    estimator: Callable[[RewardMatrix], Advantages],
    group_size: int,
    ranges: Sequence[Sequence[float]],
    decimals: int = 9,
) -> Tensor:
    """The distinct unordered groups (N, G) in units of 10^-decimals, each row ascending."""
    completions_VK = torch.tensor(list(itertools.product(*ranges)), dtype=torch.float64)
    choices = itertools.combinations_with_replacement(range(len(completions_VK)), group_size)
    rewards = RewardMatrix.from_groups(completions_VK[torch.tensor(list(choices))])
    values_PG = estimator(rewards).values_B.view(-1, group_size)
    rounded_PG = (values_PG * 10**decimals).round().to(torch.int64)
    distinct_PG: Tensor = torch.unique(rounded_PG.sort(1).values, dim=0)
    return distinct_PG


def _arrangements(row: Sequence[int]) -> int:
    """Number of distinct tuples that the values of a multiset can be put into."""
    repeats = (math.factorial(len(list(same))) for _, same in itertools.groupby(row))
    return math.factorial(len(row)) // math.prod(repeats)
