"""Which advantage groups stay distinct: exact counts over all assignments, and what may be claimed of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from morl.advantage import GDPO, GRPO, GRPONoStd, count_distinct_groups
from morl.advantage.counting import assignments
from morl.types import RewardMatrix

ESTIMATORS: tuple[Any, ...] = (GRPO(eps=0), GRPONoStd(), GDPO(batch_norm=False))
BINARY = (0.0, 1.0)


def counts(group_size: int, ranges: Sequence[tuple[float, ...]], ordered: bool = False) -> tuple[int, ...]:
    return tuple(count_distinct_groups(e, group_size, ranges, ordered=ordered) for e in ESTIMATORS)


@pytest.mark.parametrize(
    ("group_size", "rewards", "unordered", "ordered"),
    [
        (2, 2, (2, 3, 3), (3, 5, 5)),
        (3, 2, (4, 6, 6), (13, 19, 19)),
        (4, 2, (7, 10, 14), (51, 65, 107)),
        (5, 2, (11, 15, 26), (181, 211, 421)),
        (6, 2, (16, 21, 38), (603, 665, 1745)),
        (7, 2, (22, 28, 59), (1933, 2059, 6413)),
        (8, 2, (29, 36, 81), (6051, 6305, 26871)),
        (4, 3, (14, 20, 45), (147, 175, 501)),
        (4, 4, (23, 35, 127), (291, 369, 1773)),
        (4, 5, (41, 56, 318), (579, 671, 5139)),
    ],
)
def test_counts_for_binary_rewards(
    group_size: int, rewards: int, unordered: tuple[int, ...], ordered: tuple[int, ...]
) -> None:
    """gdpo is strictly ahead of grpo-no-std from G = 4 and ties with it below; both are ahead of grpo."""
    ranges = [BINARY] * rewards
    grpo, no_std, gdpo = counts(group_size, ranges)
    assert (grpo, no_std, gdpo) == unordered
    assert counts(group_size, ranges, ordered=True) == ordered
    assert grpo < no_std
    assert gdpo > no_std if group_size >= 4 else gdpo == no_std


@pytest.mark.parametrize(("group_size", "rewards"), [(4, 2), (6, 2), (4, 3)])
def test_the_batch_step_does_not_change_the_count(group_size: int, rewards: int) -> None:
    ranges = [BINARY] * rewards
    without, with_step = (count_distinct_groups(e, group_size, ranges) for e in (GDPO(batch_norm=False), GDPO(eps=0)))
    assert without == with_step


@pytest.mark.parametrize(("group_size", "rewards"), [(2, 2), (3, 2), (4, 2), (5, 2), (6, 2), (4, 3)])
def test_for_equal_ranges_gdpo_never_merges_what_grpo_separates(group_size: int, rewards: int) -> None:
    everything = assignments(group_size, [BINARY] * rewards, ordered=True)
    gdpo, grpo = (
        (estimator(everything).values_B.view(-1, group_size) * 1e9).round()
        for estimator in (GDPO(batch_norm=False), GRPO(eps=0))
    )
    assert distinct(torch.cat([gdpo, grpo], 1)) == distinct(gdpo)
    # and the other way round grpo does merge
    assert distinct(torch.cat([gdpo, grpo], 1)) > distinct(grpo)


@pytest.mark.parametrize(
    ("group_size", "expected"),
    [(2, (2, 5, 3)), (3, (7, 13, 6)), (4, (17, 26, 14)), (6, (56, 71, 38)), (8, (127, 148, 81))],
)
def test_for_unequal_ranges_the_order_inverts(group_size: int, expected: tuple[int, ...]) -> None:
    """r1 in {0, 3} and r2 in {0, 1}: gdpo forgets the ranges, by design, and with them a distinction."""
    assert counts(group_size, [(0.0, 3.0), BINARY]) == expected


def test_a_pair_that_gdpo_merges_and_grpo_separates() -> None:
    """r1 = (0, 3), r2 = (1, 0): on gdpo's scale the two cancel; the totals 1 and 3 differ."""
    rewards = torch.tensor([[[0.0, 1.0], [3.0, 0.0]]], dtype=torch.float64)
    matrix = RewardMatrix.from_groups(rewards)
    assert GDPO(eps=0)(matrix).values_B.tolist() == [0, 0]
    assert GRPO(eps=0)(matrix).values_B.tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5])


def distinct(rows: Tensor) -> int:
    return len({tuple(row) for row in rows.tolist()})
