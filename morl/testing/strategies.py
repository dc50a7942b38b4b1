"""Hypothesis strategies for what plugins are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from hypothesis import strategies as st

from morl.types import RewardMatrix, Spans, TurnRewards

Values = Literal["steps", "decimals", "extreme"]

_DECIMALS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.7, 1.0, 1 / 3, -0.1, 1e-8, 1e4, 1e8)


def reward_values(kind: Values = "steps", dtype: torch.dtype = torch.float64) -> st.SearchStrategy[float]:
    """Single rewards.

    Args:
        kind: `steps`, multiples of 1/8 in [-4, 4], which every dtype holds exactly and whose sums are exact;
            `decimals`, numbers such as 0.1 that no dtype holds exactly, and 1e8 beside them;
            `extreme`, up to the largest and down to the smallest number of the dtype.
        dtype: what the tensor will be made of.
    """
    if kind == "steps":
        return st.integers(-32, 32).map(lambda eighths: eighths / 8)
    if kind == "decimals":
        return st.sampled_from([value for value in _DECIMALS if abs(value) <= torch.finfo(dtype).max])
    return st.sampled_from([sign * size for size in _extremes(dtype) for sign in (-1, 0, 1)])


def _extremes(dtype: torch.dtype) -> list[float]:
    limits = torch.finfo(dtype)
    smallest = limits.smallest_normal * limits.eps
    return [limits.max, limits.max / 2, limits.max**0.5, 1.0, limits.smallest_normal**0.5, limits.tiny, smallest]


@st.composite
def reward_matrices(
    draw: st.DrawFn,
    *,
    names: Sequence[str] | None = None,
    max_rewards: int = 3,
    max_groups: int = 4,
    max_group_size: int = 5,
    values: Values = "steps",
    dtypes: Sequence[torch.dtype] = (torch.float64,),
    weights: Sequence[float] = (0.25, 0.5, 1.0, 2.0),
    missing: bool = True,
    constant: bool = False,
    bounded: bool = False,
    nonnegative: bool = False,
) -> RewardMatrix:
    """Reward matrices with groups of unequal size, down to one completion, whose rows stand in any order.

    Args:
        names: reward names; default r0, r1, .. up to `max_rewards`.
        max_rewards: largest K without `names`.
        max_groups: largest number of prompts.
        max_group_size: largest number of completions of a prompt.
        values: see `reward_values`.
        dtypes: one of these is the dtype of the values.
        weights: one of these, or none at all (that is, 1), is the weight of each reward.
        missing: some entries are NaN, others masked with an arbitrary value beneath.
        constant: every reward has one value per group.
        bounded: every reward declares bounds; otherwise some do.
        nonnegative: no reward is below 0.
    """
    if names is None:
        names = [f"r{k}" for k in range(draw(st.integers(1, max_rewards)))]
    dtype = draw(st.sampled_from(list(dtypes)))
    sizes = draw(st.lists(st.integers(1, max_group_size), min_size=1, max_size=max_groups))
    labels = draw(st.lists(st.integers(-3, 99), min_size=len(sizes), max_size=len(sizes), unique=True))
    rows = draw(st.permutations([group for group, number in enumerate(sizes) for _ in range(number)]))
    cell = reward_values(values, dtype).map(abs) if nonnegative else reward_values(values, dtype)
    if constant:
        cell_of_group = st.lists(cell, min_size=len(sizes), max_size=len(sizes))
        columns = [[of_group[group] for group in rows] for of_group in (draw(cell_of_group) for _ in names)]
    else:
        columns = [draw(st.lists(cell, min_size=len(rows), max_size=len(rows))) for _ in names]
        if values == "extreme" and draw(st.booleans()):
            # One scale for all, so that nothing larger hides what happens at the smallest.
            size = draw(st.sampled_from(_extremes(dtype)))
            columns = [[math.copysign(size, v) if v else 0.0 for v in column] for column in columns]
    # Through float64, so that a decimal is rounded once, to the dtype.
    values_BK = torch.tensor(columns, dtype=torch.float64).T.contiguous().to(dtype)
    valid_BK = torch.ones(values_BK.shape, dtype=torch.bool)
    if missing and draw(st.booleans()):
        kinds = st.lists(st.sampled_from("vvvnm"), min_size=values_BK.numel(), max_size=values_BK.numel())
        for place, kind in enumerate(draw(kinds)):
            if kind == "n":
                values_BK.view(-1)[place] = math.nan
            valid_BK.view(-1)[place] = kind != "m"
    chosen = {name: draw(st.none() | st.sampled_from(list(weights))) for name in names}
    lengths = draw(st.lists(st.integers(1, 9), min_size=len(rows), max_size=len(rows)))
    declared = names if bounded else [name for name in names if draw(st.booleans())]
    return RewardMatrix(
        values_BK,
        torch.tensor([labels[group] for group in rows]),
        tuple(names),
        {name: weight for name, weight in chosen.items() if weight is not None},
        valid_BK=valid_BK,
        lengths_B=torch.tensor(lengths),
        spans=(spans := tuple(map(_turns, lengths))),
        turn_rewards=None if constant else _turn_rewards(draw, spans, names, cell),
        bounds={name: _bounds(values_BK[:, names.index(name)]) for name in declared},
        step=draw(st.integers(0, 1000)),
    )


def _turn_rewards(
    draw: st.DrawFn, spans: Sequence[Spans], names: Sequence[str], cell: st.SearchStrategy[float]
) -> tuple[TurnRewards, ...] | None:
    """None, or the first reward for some turns; whether it adds up to the reward of the completion does not matter."""
    if not draw(st.booleans()):
        return None
    return tuple(
        tuple({names[0]: reward} if (reward := draw(st.none() | cell)) is not None else {} for _ in turns)
        for turns in spans
    )


def _turns(length: int) -> Spans:
    """One turn of so many tokens, or two with two tokens of an environment between."""
    middle = length // 2
    return ((0, length),) if length % 3 or not middle else ((0, middle), (middle + 2, length + 2))


def _bounds(values_B: torch.Tensor) -> tuple[float, float]:
    """Floor and ceiling around the values of a reward, and around [0, 1]."""
    there = [value for value in values_B.double().tolist() if not math.isnan(value)]
    return min([0.0, *there]), max([1.0, *there])
