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
    decimals: int | None = None,
) -> int:
    """Number of distinct advantage groups over all assignments of reward values to one group.

    Every multiset of completions is a group of ONE batch, so that a single call does it; an estimator's batch
    normalisation is applied to that batch.  Order adds nothing that has to be tried: an estimator that passes the laws
    of `morl.testing` permutes its answer as the completions are permuted, so the ordered groups are the arrangements of
    the unordered ones.

    Args:
        estimator: called once.
        group_size: G, completions of a group.
        ranges: the values that each of the K rewards can take; all rewards have weight 1.
        ordered: count tuples of G advantages instead of multisets.
        decimals: advantages that differ by no more than the last of so many places are one.  By default nine; where the
            estimator has an `eps` above 0, which moves advantages of equal meaning apart by about eps over the standard
            deviation, differences up to 100 eps.

    Raises:
        ValueError: as `assignments`; and where, without `decimals`, some advantages differ by a size that may be eps
            or may be meant.

    >>> from morl.advantage import GDPO, GRPO
    >>> binary = [(0, 1), (0, 1)]
    >>> count_distinct_groups(GRPO(eps=0), 2, binary), count_distinct_groups(GDPO(eps=0), 2, binary)
    (2, 3)
    >>> count_distinct_groups(GRPO(eps=1e-6), 2, binary)
    2
    """
    values_PG = estimator(assignments(group_size, ranges)).values_B.view(-1, group_size)
    levels_PG = _levels(values_PG, estimator, decimals).sort(1).values
    distinct_PG: Tensor = torch.unique(levels_PG, dim=0)
    if not ordered:
        return len(distinct_PG)
    return sum(_arrangements(row) for row in distinct_PG.tolist())


def assignments(group_size: int, ranges: Sequence[Sequence[float]], *, ordered: bool = False) -> RewardMatrix:
    """Every assignment of reward values to the completions of a group, each as a group of one batch.

    Args:
        group_size: G, completions of a group.
        ranges: the values that each of the K rewards can take.
        ordered: every tuple of completions instead of every multiset.

    Raises:
        ValueError: no completion, no reward, or a reward without values.

    >>> binary = [(0, 1), (0, 1)]
    >>> [len(assignments(4, binary, ordered=ordered).values_BK) // 4 for ordered in (False, True)]
    [35, 256]
    """
    if group_size < 1 or not ranges or not all(ranges):
        raise ValueError(
            f"expected a group size >= 1 and values for each of one or more rewards; got {group_size} and {ranges}"
        )
    completions_VK = torch.tensor(list(itertools.product(*ranges)), dtype=torch.float64)
    which = range(len(completions_VK))
    choices = (
        itertools.product(which, repeat=group_size)
        if ordered
        else itertools.combinations_with_replacement(which, group_size)
    )
    return RewardMatrix.from_groups(completions_VK[torch.tensor(list(choices))])


def _levels(values_PG: Tensor, estimator: object, decimals: int | None) -> Tensor:
    """Each advantage's place among the distinct ones; neighbours within the tolerance share a place."""
    eps = float(getattr(getattr(estimator, "inner", estimator), "eps", 0.0)) if decimals is None else 0.0
    tolerance = max(10.0 ** -(9 if decimals is None else decimals), 100 * eps)
    distinct_N, place_PG = torch.unique(values_PG.double(), return_inverse=True)
    gaps_N = distinct_N.diff()
    unclear = (gaps_N > tolerance / 10) & (gaps_N < tolerance * 10)
    if eps > 0 and unclear.any():
        raise ValueError(
            f"some advantages differ by {float(gaps_N[unclear][0]):.1e}, which may be the eps={eps:g} of the estimator or"
            " may be meant; count with eps=0, or say with `decimals` to how many places advantages have to agree"
        )
    return torch.cat([gaps_N.new_zeros(1), (gaps_N > tolerance).cumsum(0)])[place_PG]


def _arrangements(row: Sequence[int]) -> int:
    """Number of distinct tuples that the values of a multiset can be put into."""
    repeats = (math.factorial(len(list(same))) for _, same in itertools.groupby(row))
    return math.factorial(len(row)) // math.prod(repeats)
