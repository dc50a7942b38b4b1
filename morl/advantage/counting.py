"""How many advantage groups an estimator can tell apart (GDPO paper, section 3 and figure 3)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import attrs
import torch
from attrs import evolve, frozen
from torch import Tensor

from morl.advantage.conditioned import Conditioned
from morl.advantage.gdpo import GDPO
from morl.advantage.grpo import GRPO
from morl.types import Advantages, RewardMatrix


def count_distinct_groups(
    estimator: Callable[[RewardMatrix], Advantages],
    group_size: int,
    ranges: Sequence[Sequence[float]],
    *,
    ordered: bool = False,
    decimals: int | None = None,
    weights: Sequence[float] | None = None,
) -> int:
    """Number of distinct advantage groups over all assignments of reward values to one group.

    Every multiset of completions is a group of ONE batch, so that a single call does it; an estimator's batch
    normalisation is applied to that batch.  Order adds nothing that has to be tried: an estimator that passes the laws
    of `morl.testing` permutes its answer as the completions are permuted, so the ordered groups are the arrangements of
    the unordered ones.

    Args:
        estimator: called on one batch.
        group_size: G, completions of a group.
        ranges: the values that each of the K rewards can take.
        ordered: count tuples of G advantages instead of multisets.
        decimals: advantages that differ by no more than the last of so many places are one.  By default nine; where the
            estimator or its preset has an `eps` or `group_eps` above 0, which moves advantages of equal meaning apart
            by about eps over the standard deviation, those that differ by up to 100 eps.
        weights: of the K rewards; 1 each by default.

    Raises:
        ValueError: as `assignments`; and where, without `decimals`, that joins other groups than eps 0 would.

    >>> from morl.advantage import GDPO, GRPO
    >>> binary = [(0, 1), (0, 1)]
    >>> count_distinct_groups(GRPO(eps=0), 2, binary), count_distinct_groups(GDPO(eps=0), 2, binary)
    (2, 3)
    >>> count_distinct_groups(GRPO(eps=1e-6), 2, binary)
    2
    """
    matrix = _weighted(assignments(group_size, ranges), weights)
    values_PG = estimator(matrix).values_B.view(-1, group_size)
    exact, eps = _without_eps(estimator) if decimals is None else (estimator, 0.0)
    distinct_PG = _distinct(values_PG, max(10.0 ** -(9 if decimals is None else decimals), 100 * eps))
    if eps > 0:
        number = len(_distinct(exact(matrix).values_B.view(-1, group_size), 1e-9))
        if number != len(distinct_PG):
            raise ValueError(
                f"eps={eps:g} of the estimator is not small against its standard deviations here: {len(distinct_PG)}"
                f" groups within {100 * eps:g}, and {number} with eps=0; count with eps=0, or say with `decimals` to"
                " how many places advantages have to agree"
            )
    if not ordered:
        return len(distinct_PG)
    return sum(_arrangements(row) for row in distinct_PG.tolist())


@frozen
class Merged:
    """How often an estimator gives two groups of different rewards the same advantages.

    Attributes:
        merged: pairs with the same advantages, order within a group aside.
        pairs: random pairs of groups whose rewards differ.
    """

    merged: int
    pairs: int

    @property
    def share(self) -> float:
        """Estimated chance; NaN where no pair differs."""
        return self.merged / self.pairs if self.pairs else math.nan

    @property
    def error(self) -> float:
        """Half the width of Wilson's 95% interval, which is above 0 even where no pair was merged."""
        n, z = self.pairs, 1.959964
        if not n:
            return math.nan
        return z / (1 + z * z / n) * math.sqrt(self.share * (1 - self.share) / n + z * z / (4 * n * n))


def sample_merged_pairs(
    estimator: Callable[[RewardMatrix], Advantages],
    group_size: int,
    ranges: Sequence[Sequence[float]],
    *,
    weights: Sequence[float] | None = None,
    pairs: int = 50_000,
    seed: int = 0,
) -> Merged:
    """Monte Carlo where there are too many groups to count: of random pairs of groups, how many are not told apart.

    Every score is drawn uniformly from the values of its reward, independently; all groups are one batch.  Advantages
    agree as in `count_distinct_groups`.

    >>> from morl.advantage import GDPO, GRPO
    >>> binary = [(0, 1), (0, 1)]
    >>> grpo, gdpo = (sample_merged_pairs(one(), 2, binary, pairs=9000) for one in (GRPO, GDPO))
    >>> grpo.share > gdpo.share > 0
    True
    """
    rng = torch.Generator().manual_seed(seed)
    places = [torch.randint(len(own), (2 * pairs, group_size), generator=rng) for own in ranges]
    values = [torch.tensor(own, dtype=torch.float64)[where] for own, where in zip(ranges, places, strict=True)]
    # A completion's rewards as one number, to compare groups as multisets.
    code_PG = torch.zeros(2 * pairs, group_size, dtype=torch.int64)
    for own, where in zip(ranges, places, strict=True):
        code_PG = code_PG * len(own) + where
    code_PG = code_PG.sort(1).values
    differ = (code_PG[::2] != code_PG[1::2]).any(1)
    _, eps = _without_eps(estimator)
    matrix = _weighted(RewardMatrix.from_groups(torch.stack(values, -1)), weights)
    values_PG = estimator(matrix).values_B.double().view(-1, group_size).sort(1).values
    alike = ((values_PG[::2] - values_PG[1::2]).abs() <= max(1e-9, 100 * eps)).all(1)
    return Merged(int((alike & differ).sum()), int(differ.sum()))


def _weighted(matrix: RewardMatrix, weights: Sequence[float] | None) -> RewardMatrix:
    if weights is None:
        return matrix
    return evolve(matrix, weights=dict(zip(matrix.names, map(float, weights), strict=True)))


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


def _distinct(values_PG: Tensor, tolerance: float) -> Tensor:
    """The distinct rows, sorted within, of places among the levels; neighbours within the tolerance share a place."""
    level_N, place_PG = torch.unique(values_PG.double(), return_inverse=True)
    place_N = torch.cat([level_N.new_zeros(1), (level_N.diff() > tolerance).cumsum(0)])
    distinct_PG: Tensor = torch.unique(place_N[place_PG].sort(1).values, dim=0)
    return distinct_PG


def _without_eps(estimator: Callable[[RewardMatrix], Advantages]) -> tuple[Callable[[RewardMatrix], Advantages], float]:
    """The estimator with every eps at 0, and the largest that it or its preset had; itself and 0 where it has none."""
    if isinstance(estimator, Conditioned):
        inner, eps = _without_eps(estimator.inner)
        return evolve(estimator, inner=inner), eps
    if not attrs.has(type(estimator)):
        return estimator, 0.0
    fields = {field.name for field in attrs.fields(type(estimator))}  # type: ignore[arg-type]
    names = [name for name in ("eps", "group_eps") if name in fields]
    preset = isinstance(estimator, GRPO | GDPO) and estimator.preset is not None
    where = estimator._knobs() if preset else estimator  # type: ignore[attr-defined]
    values = (getattr(where, name) for name in names)
    eps = max((float(value) for value in values if isinstance(value, int | float)), default=0.0)
    if not eps > 0:
        return estimator, 0.0
    changes = dict.fromkeys(names, 0) | ({"preset": None} if preset else {})
    return evolve(estimator, **changes), eps  # type: ignore[misc]


def _arrangements(row: Sequence[int]) -> int:
    """Number of distinct tuples that the values of a multiset can be put into."""
    repeats = (math.factorial(len(list(same))) for _, same in itertools.groupby(row))
    return math.factorial(len(row)) // math.prod(repeats)
