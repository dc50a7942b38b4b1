"""The laws of advantage estimators, each a check of one estimator on one reward matrix.

`ALWAYS` holds those that every estimator must obey to be run by morl; `CLAIMS` those that an estimator may claim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from morl.types import Advantages, RewardMatrix

Estimator: TypeAlias = Callable[[RewardMatrix], Advantages]
Check: TypeAlias = Callable[[Estimator, RewardMatrix, torch.Generator], None]

TOLERANCE = 1e-6


@frozen
class Law:
    """One law.

    Attributes:
        name: what claims and exceptions call it.
        statement: one sentence, shown when it is broken.
        check: raises AssertionError where the law is broken; draws what it needs from the generator.
        examples: arguments of `morl.testing.reward_matrices` for the examples that bring it out.
    """

    name: str
    statement: str
    check: Check
    examples: Mapping[str, Any] = field(factory=dict)


ALWAYS: dict[str, Law] = {}
"""Invariants (laws) that every advantage estimator has to have, by name."""
CLAIMS: dict[str, Law] = {}
"""Invariants that an estimator may claim, by name."""


def _law(kind: dict[str, Law], name: str, **examples: Any) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        kind[name] = Law(name, " ".join((check.__doc__ or "").split()), check, examples)
        return check

    return register


EVERY_DTYPE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@_law(ALWAYS, "form", dtypes=EVERY_DTYPE)
def _form(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """Advantages have the shape (B,), contributions (B, K), both the dtype of the rewards."""
    answer, values = estimator(rewards), rewards.values_BK
    for got, shape in ((answer.values_B, values.shape[:1]), (answer.contributions_BK, values.shape)):
        assert (got.shape, got.dtype) == (shape, values.dtype), (
            f"expected {tuple(shape)} {values.dtype}, got {tuple(got.shape)} {got.dtype}"
        )


@_law(ALWAYS, "finite", values="extreme", dtypes=EVERY_DTYPE)
def _finite(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """No NaN and no infinity comes out, however large, small or incomplete the rewards are."""
    answer = estimator(rewards)
    for got in (answer.values_B, answer.contributions_BK):
        assert got.isfinite().all(), f"got {got.tolist()}"


@_law(ALWAYS, "pure")
def _pure(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """A second call gives the same answer, and the rewards are not written to."""
    before = evolve(rewards, values_BK=rewards.values_BK.clone(), valid_BK=rewards.valid_BK.clone())
    first = estimator(rewards).values_B.clone()
    second = estimator(rewards).values_B
    assert torch.equal(first, second), f"first {first.tolist()}, then {second.tolist()}"
    assert rewards.values_BK.nan_to_num().equal(before.values_BK.nan_to_num()), "values were written to"
    assert rewards.valid_BK.equal(before.valid_BK), "the mask was written to"


@_law(ALWAYS, "order")
def _order(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """Permuting the completions of a batch permutes their advantages, and nothing else."""
    rows = torch.randperm(len(rewards.values_BK), generator=random)
    _same(estimator(rewards).values_B[rows], estimator(rewards.take(rows)).values_B, f"rows taken as {rows.tolist()}")


@_law(ALWAYS, "shards", max_groups=8)
def _shards(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """However completions are spread over ranks, each has the advantage it has in the whole batch."""
    B = len(rewards.values_BK)
    ranks_B = torch.randint(3, (B,), generator=random)
    rows = torch.cat([(ranks_B == rank).nonzero()[:, 0] for rank in (2, 0, 1)])
    gathered = estimator(rewards.take(rows)).values_B
    _same(estimator(rewards).values_B[rows], gathered, f"gathered from ranks as rows {rows.tolist()}")


@_law(ALWAYS, "tokens")
def _tokens(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """Advantages of tokens, where given, fit the sampled tokens, are finite there, and go with their completions."""
    values_BT = estimator(rewards).values_BT
    if values_BT is None:
        return
    sampled_BT = rewards.sampled_mask_BT
    assert values_BT.shape == sampled_BT.shape, (
        f"values_BT: expected {tuple(sampled_BT.shape)}, got {tuple(values_BT.shape)}"
    )
    assert values_BT[sampled_BT].isfinite().all(), f"values_BT: got {values_BT[sampled_BT].tolist()}"
    rows = torch.randperm(len(sampled_BT), generator=random)
    permuted_BT = estimator(rewards.take(rows)).values_BT
    assert permuted_BT is not None, "values_BT: given, and not given for the same rows in another order"
    mask_BT = sampled_BT[rows]
    _same(values_BT[rows][mask_BT], permuted_BT[mask_BT], f"values_BT, rows taken as {rows.tolist()}")


@_law(ALWAYS, "labels")
def _labels(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """Group ids are labels: other ids for the same groups give the same advantages."""
    _, index_B = torch.unique(rewards.group_ids_B, return_inverse=True)
    other = 1000 - 7 * index_B
    _same(estimator(rewards).values_B, estimator(evolve(rewards, group_ids_B=other)).values_B, f"ids {other.tolist()}")


@_law(ALWAYS, "missing")
def _missing(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """A missing reward is missing, be it NaN or masked, whatever number stands beneath the mask."""
    nan = evolve(rewards, values_BK=torch.where(rewards.valid_BK, rewards.values_BK, math.nan))
    masked = evolve(rewards, values_BK=torch.where(rewards.valid_BK, rewards.values_BK, 1e6))
    _same(estimator(nan).values_B, estimator(masked).values_B, "NaN against masked 1e6")


@_law(ALWAYS, "absent-reward")
def _absent_reward(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """A reward that is missing everywhere is as good as not there."""
    extra = torch.full_like(rewards.values_BK[:, :1], math.nan)
    wider = evolve(
        rewards,
        values_BK=torch.cat([rewards.values_BK, extra], 1),
        names=(*rewards.names, "absent"),
        valid_BK=torch.cat([rewards.valid_BK, ~extra.isnan()], 1),
    )
    _same(estimator(rewards).values_B, estimator(wider).values_B, "with one more reward, missing everywhere")


@_law(ALWAYS, "abstained")
def _abstained(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """A completion without any reward has advantage 0, and the others have what they have without it."""
    scored_B = rewards.valid_BK.any(1)
    values_B = estimator(rewards).values_B
    assert not values_B[~scored_B].any(), f"completions without a reward got {values_B[~scored_B].tolist()}"
    if scored_B.any():
        rows = scored_B.nonzero()[:, 0]
        _same(values_B[rows], estimator(rewards.take(rows)).values_B, f"alone, rows {rows.tolist()}")


@_law(ALWAYS, "contributions")
def _contributions(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """What the rewards contribute to an advantage adds up to it; a missing reward contributes 0."""
    answer = estimator(rewards)
    _same(answer.values_B, answer.contributions_BK.sum(1), "advantages against sums of contributions")
    missing = answer.contributions_BK[~rewards.valid_BK]
    assert not missing.any(), f"missing rewards contribute {missing.tolist()}"


@_law(ALWAYS, "no-spread", values="decimals", constant=True, dtypes=EVERY_DTYPE)
def _no_spread(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """A batch in which no reward differs within a group has advantages of exactly 0."""
    values_B = estimator(rewards).values_B
    assert not values_B.any(), f"nothing differs, yet the advantages are {values_B.tolist()}"


@_law(CLAIMS, "zero-mean")
def _zero_mean(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """The advantages of each group have mean 0."""
    for values_G in by_group(rewards, estimator(rewards).values_B):
        assert values_G.mean().abs() <= TOLERANCE * _size(values_G), f"group with {values_G.tolist()}"


@_law(CLAIMS, "unit-deviation")
def _unit_deviation(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """The advantages of a group that are not all 0 have sample standard deviation 1, over completions with a reward."""
    scored = rewards.take(rewards.valid_BK.any(1).nonzero()[:, 0])
    for values_G in by_group(scored, estimator(scored).values_B):
        if values_G.any():
            assert abs(values_G.std() - 1) <= TOLERANCE, f"group with {values_G.tolist()}"


@_law(CLAIMS, "unit-batch-deviation")
def _unit_batch_deviation(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """The advantages of a batch that are not all 0 have sample standard deviation 1, over completions with a reward."""
    values_B = estimator(rewards).values_B[rewards.valid_BK.any(1)]
    if values_B.any():
        assert abs(values_B.std() - 1) <= TOLERANCE, f"batch with {values_B.tolist()}"


@_law(CLAIMS, "shift")
def _shift(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """Adding a constant to one reward of one group changes nothing."""
    shifts_BK = _per_group(rewards, random, torch.arange(-64, 64) / 8)
    shifted = evolve(rewards, values_BK=rewards.values_BK + shifts_BK)
    _same(estimator(rewards).values_B, estimator(shifted).values_B, f"shifted to {shifted.values_BK.tolist()}")


@_law(CLAIMS, "scale")
def _scale(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """Multiplying all rewards by one positive number changes nothing."""
    factor = 10.0 ** float(torch.rand((), generator=random) * 12 - 6)
    scaled = evolve(rewards, values_BK=rewards.values_BK * factor)
    _same(estimator(rewards).values_B, estimator(scaled).values_B, f"times {factor}")


@_law(CLAIMS, "scale-each")
def _scale_each(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """Multiplying one reward of one group by a positive number changes nothing."""
    factors_BK = 10.0 ** _per_group(rewards, random, torch.arange(-6, 7))
    scaled = evolve(rewards, values_BK=rewards.values_BK * factors_BK)
    _same(estimator(rewards).values_B, estimator(scaled).values_B, f"scaled to {scaled.values_BK.tolist()}")


@_law(CLAIMS, "dead-reward", missing=False)
def _dead_reward(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """A reward that varies within no group is as good as not there, whatever its value."""
    dead = _per_group(rewards, random, torch.tensor([0.0, 0.1, 0.7, -3.0, 1e8]))[:, :1]
    wider = evolve(
        rewards,
        values_BK=torch.cat([rewards.values_BK, dead], 1),
        names=(*rewards.names, "dead"),
        valid_BK=~torch.cat([rewards.values_BK, dead], 1).isnan(),
    )
    answer = estimator(wider)
    _same(estimator(rewards).values_B, answer.values_B, f"with one more reward, {dead[:, 0].tolist()}")
    assert not answer.contributions_BK[:, -1].any(), f"it contributes {answer.contributions_BK[:, -1].tolist()}"


@_law(CLAIMS, "rounding", values="decimals")
def _rounding(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """Scores that are equal but for their last places count as equal, and a thousandth of a score does not."""
    places_BK = torch.randint(-3, 4, rewards.values_BK.shape, generator=random)
    rounded = evolve(rewards, values_BK=rewards.values_BK * (1 + places_BK * torch.finfo(torch.float64).eps))
    _same(estimator(rewards).values_B, estimator(rounded).values_B, f"rounded to {rounded.values_BK.tolist()}")
    apart = torch.tensor([[1.0], [1.001], [1.0], [1.001]], dtype=torch.float64)
    values_B = estimator(RewardMatrix(apart, torch.tensor([0, 0, 1, 1]), ("r",))).values_B
    assert (values_B[[1, 3]] > values_B[[0, 2]]).all(), f"1.0 and 1.001 in each group: got {values_B.tolist()}"


@_law(CLAIMS, "local")
def _local(estimator: Estimator, rewards: RewardMatrix, random: torch.Generator) -> None:
    """The advantages of a group do not depend on the other groups of the batch."""
    rows = (rewards.group_ids_B == rewards.group_ids_B[0]).nonzero()[:, 0]
    _same(estimator(rewards).values_B[rows], estimator(rewards.take(rows)).values_B, f"alone, rows {rows.tolist()}")


def by_group(rewards: RewardMatrix, values_B: Tensor) -> Sequence[Tensor]:
    """Values of each group."""
    return [values_B[rewards.group_ids_B == group] for group in set(rewards.group_ids_B.tolist())]


def _per_group(rewards: RewardMatrix, random: torch.Generator, choices: Tensor) -> Tensor:
    """One of the choices for each reward of each group, repeated for its completions, (B, K)."""
    ids_P, index_B = torch.unique(rewards.group_ids_B, return_inverse=True)
    picks_PK = torch.randint(len(choices), (len(ids_P), len(rewards.names)), generator=random)
    return choices.to(rewards.values_BK.dtype)[picks_PK][index_B]


def _same(expected_B: Tensor, got_B: Tensor, what: str) -> None:
    close = (expected_B - got_B).abs() <= TOLERANCE * _size(expected_B)
    assert close.all(), f"{what}: expected {expected_B.tolist()}, got {got_B.tolist()}"


def _size(values: Tensor) -> float:
    return float(max([1.0, *values.abs().tolist()]))
