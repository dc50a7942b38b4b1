from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morl.evaluation.arguments import Measures
from morl.evaluation.figures import figures
from morl.runtime.estimates import estimate, pass_at_k, prompt_means
from morl.runtime.held_out import HeldOut
from morl.runtime.scores import BatchScores

NAN = float("nan")


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.integers(1, 7))
def test_pass_at_k_is_the_share_of_draws_with_a_success(successes: list[bool], k: int) -> None:
    """Chen et al. 2021: of all ways to choose k of the n completions, those with at least one success."""
    values = torch.tensor(successes, dtype=torch.float64)
    found = pass_at_k(values, torch.zeros(len(successes), dtype=torch.int64), k)
    draws = [any(draw) for draw in combinations(successes, k)]
    assert found == (pytest.approx([sum(draws) / len(draws)]) if draws else [])


def test_pass_at_k_leaves_out_what_is_unknown() -> None:
    values = torch.tensor([1.0, NAN, NAN, 0.0, 1.0, 0.0, NAN, NAN])
    groups = torch.tensor([7, 7, 7, 3, 3, 3, 5, 5])
    assert pass_at_k(values, groups, 1) == pytest.approx([1 / 3, 1.0])
    assert pass_at_k(values, groups, 2) == pytest.approx([2 / 3])
    assert pass_at_k(values, groups, 4) == []


def test_a_prompt_counts_once_however_many_of_its_completions_are_scored() -> None:
    values = torch.tensor([1.0, 1.0, 1.0, 0.0, NAN, NAN])
    assert prompt_means(values, torch.tensor([0, 0, 0, 1, 1, 1])) == [1.0, 0.0]


def test_prompts_are_what_is_resampled() -> None:
    """Copies of a completion tell nothing new, so they must not narrow the interval."""
    values = [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    groups = torch.arange(8)
    once = estimate(prompt_means(torch.tensor(values), groups), share=True)
    often = estimate(prompt_means(torch.tensor(values).repeat_interleave(50), groups.repeat_interleave(50)), share=True)
    assert once == often
    assert once.low is not None
    assert once.high is not None
    assert 0 < once.low < 0.625 < once.high <= 1


def test_prompts_that_all_agree_prove_no_certainty() -> None:
    """0 of n leaves shares up to 1 - 0.025^(1/n) possible (Clopper and Pearson 1934)."""
    for n in (2, 16, 400):
        none, all_ = (estimate([value] * n, share=True) for value in (0.0, 1.0))
        assert (none.low, none.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / n)))
        assert (all_.low, all_.high) == (pytest.approx(0.025 ** (1 / n)), 1.0)
    assert str(estimate([0.5] * 9, share=True)) == str(estimate([0.5] * 9)) == "0.500"


def test_a_single_prompt_has_no_interval() -> None:
    assert str(estimate([1.0], share=True)) == "1.000"
    assert str(estimate([])) == "-"


def scores(values: list[list[float]], failed: list[list[bool]] | None = None) -> BatchScores:
    values_BK = torch.tensor(values, dtype=torch.float64)
    B = len(values)
    return BatchScores(
        positions_B=torch.arange(B) // 2,
        values_BK=values_BK,
        failed_BK=torch.zeros_like(values_BK, dtype=torch.bool) if failed is None else torch.tensor(failed),
        dropped_B=torch.zeros(B, dtype=torch.bool),
        lengths_B=torch.arange(1, B + 1),
        truncated_B=torch.arange(B) == 0,
    )


def test_failures_and_missing_values_are_told_from_zeros() -> None:
    batch = scores([[0.0], [NAN], [NAN], [0.0]], [[False], [False], [True], [True]])
    (reward,) = figures(batch, ["r"], 2, Measures()).rewards.values()
    assert (reward.mean.mean, reward.scored, reward.missing, reward.failed) == (0.0, 2, 1, 2)


def test_rewards_of_0_and_1_get_pass_at_k_unless_others_are_named() -> None:
    batch = scores([[0.0, 0.5], [1.0, 1.0], [0.0, 0.0], [NAN, 0.5]])
    found = figures(batch, ["binary", "graded"], 2, Measures())
    assert {name: list(passed.at) for name, passed in found.passes.items()} == {"binary": [1, 2]}
    assert [passed.mean for passed in found.passes["binary"].at.values()] == [0.25, 1.0]
    found = figures(batch, ["binary", "graded"], 2, Measures(k=(2,), success={"graded": 0.5}))
    assert list(found.passes) == ["graded"]
    assert found.passes["graded"].at[2].mean == 1.0


def test_a_reward_without_any_score_has_no_pass_at_k() -> None:
    found = figures(scores([[NAN], [NAN]]), ["r"], 2, Measures())
    assert (found.passes, found.rewards["r"].mean.mean, found.rewards["r"].missing) == ({}, None, 2)


def test_lengths() -> None:
    found = figures(scores([[0.0]] * 4), ["r"], 2, Measures(limit=3))
    assert (found.length.mean, found.truncated.mean, found.limit) == (2.5, 0.25, 3)
    assert found.over_limit is not None
    assert found.over_limit.mean == 0.25
    assert figures(scores([[0.0]] * 4), ["r"], 2, Measures()).over_limit is None


def test_a_change_is_that_of_the_same_prompts() -> None:
    """Prompts that only one of the two evaluations scored say nothing of it."""
    before = HeldOut({}, {}, by_prompt={"right": {3: 0.0, 5: 10.0, 7: 4.0}, "gone": {3: 1.0}})
    after = HeldOut({}, {}, by_prompt={"right": {7: 5.0, 5: 12.0, 8: 100.0}, "new": {3: 1.0}})
    changes = after.change(before)
    assert list(changes) == ["right"]
    assert changes["right"].mean == pytest.approx((5.0 - 4.0 + 12.0 - 10.0) / 2)
