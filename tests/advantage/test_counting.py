"""Counting distinct groups; the tables themselves are in tests/properties/test_distinct_groups.py."""

from __future__ import annotations

import pytest

from morl.advantage import GDPO, GRPO, Conditioned, count_distinct_groups
from morl.advantage.counting import assignments


@pytest.mark.parametrize("ranges", [[(0, 1), (0, 1)], [(0, 3), (0, 1)], [(0.0, 0.5, 1.0)], [(0, 1)] * 3])
@pytest.mark.parametrize("group_size", [1, 2, 3, 4])
def test_arrangements_of_multisets_are_all_the_tuples(group_size: int, ranges: list[tuple[float, ...]]) -> None:
    """The short cut of the ordered count against plain enumeration of every tuple."""
    for estimator in (GRPO(eps=0), GDPO(batch_norm=False)):
        everything = estimator(assignments(group_size, ranges, ordered=True)).values_B.view(-1, group_size)
        tuples = {tuple(row) for row in (everything * 1e9).round().to(int).tolist()}  # type: ignore[call-overload]
        multisets = {tuple(sorted(row)) for row in tuples}
        assert count_distinct_groups(estimator, group_size, ranges, ordered=True) == len(tuples)
        assert count_distinct_groups(estimator, group_size, ranges) == len(multisets)


def test_every_assignment_is_there_once() -> None:
    matrix = assignments(2, [(0, 1), (5, 6)], ordered=True)
    groups = {tuple(map(tuple, group)) for group in matrix.values_BK.view(-1, 2, 2).tolist()}
    assert len(groups) == len(matrix.values_BK) // 2 == 4**2


@pytest.mark.parametrize(("group_size", "ranges"), [(0, [(0, 1)]), (2, []), (2, [(0, 1), ()])])
def test_nothing_to_count_is_refused(group_size: int, ranges: list[tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match=r"expected a group size >= 1 and values for each of one or more rewards; got"):
        count_distinct_groups(GRPO(), group_size, ranges)


def test_an_eps_makes_no_groups_of_its_own() -> None:
    """At nine decimals the default eps tells groups apart that division by the deviation alone does not: 3, 6, 10."""
    binary = [(0, 1), (0, 1)]
    assert [count_distinct_groups(GRPO(), G, binary) for G in (2, 3, 4)] == [2, 4, 7]
    assert [count_distinct_groups(GRPO(), G, binary, decimals=9) for G in (2, 3, 4)] == [3, 6, 10]
    assert [count_distinct_groups(GDPO(), G, binary) for G in (2, 3, 4)] == [3, 6, 14]
    conditioned = Conditioned(GRPO(), {"r1": {"on": "r0", "at_least": 0}})
    assert count_distinct_groups(conditioned, 4, binary) == 7


@pytest.mark.parametrize(("eps", "ranges"), [(1.0, [(0, 1)] * 2), (1e-6, [(0, 1e-5)] * 2)])
def test_an_eps_that_is_not_small_is_refused(eps: float, ranges: list[tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match=r"eps=.* is not small against .* with eps=0; count with eps=0, or say with"):
        count_distinct_groups(GRPO(eps=eps), 4, ranges)
    assert count_distinct_groups(GRPO(eps=eps), 4, ranges, decimals=6) >= 7


def test_the_eps_of_a_preset_and_of_a_group_make_no_groups_either() -> None:
    binary = [(0, 1), (0, 1)]
    for preset in ("trl", "verl", "nemo-rl", "ms-swift"):
        assert [count_distinct_groups(GRPO(preset=preset), G, binary) for G in (2, 3, 4)] == [2, 4, 7], preset
        assert [count_distinct_groups(GDPO(preset=preset), G, binary) for G in (2, 3, 4)] == [3, 6, 14], preset
    assert count_distinct_groups(GDPO(batch_norm=False, group_eps=1e-6), 4, binary) == 14
    with pytest.raises(ValueError, match=r"eps=1 of the estimator is not small"):
        count_distinct_groups(GDPO(batch_norm=False, group_eps=1.0), 6, [(0, 1), (0, 3)])
