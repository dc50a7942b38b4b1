"""Each estimator against its textbook version: plain torch on complete rewards of moderate size."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from morl.advantage import GDPO, GRPO, Conditioned, GRPONoStd
from morl.advantage.conditioned import textbook_conditioned
from morl.advantage.gdpo import textbook_gdpo
from morl.advantage.grpo import textbook_grpo, textbook_grpo_no_std
from morl.types import RewardMatrix

TEXTBOOK = [textbook_grpo, textbook_grpo_no_std, textbook_gdpo, textbook_conditioned]
LINES = 10


@st.composite
def batches(draw: st.DrawFn, rewards: int = 3) -> Tensor:
    """Whole numbers, whose sums and means over a power of two are exact: a constant group has a deviation of 0."""
    groups, size, highest = draw(st.integers(1, 4)), draw(st.sampled_from([2, 4, 8])), draw(st.integers(1, 4))
    random = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    return torch.randint(-highest, highest + 1, (groups, size, rewards), generator=random, dtype=torch.float64)


weights = st.lists(st.sampled_from([-1.0, 0.5, 1.0, 3.0]), min_size=3, max_size=3)
options = st.tuples(st.sampled_from([0.0, 1e-6, 0.5]), st.sampled_from([0, 1]))


def matrix(rewards_PGK: Tensor, weights_K: list[float]) -> RewardMatrix:
    names = tuple("abc"[: rewards_PGK.shape[2]])
    return RewardMatrix.from_groups(rewards_PGK, names=names, weights=dict(zip(names, weights_K, strict=True)))


def check(expected_PG: Tensor, got_B: Tensor) -> None:
    """Where the textbook divides 0 by 0, the estimators say 0."""
    torch.testing.assert_close(got_B, expected_PG.nan_to_num(0.0).flatten(), rtol=1e-9, atol=1e-9)


@given(batches(), weights, options)
def test_grpo(rewards: Tensor, weights_K: list[float], options: tuple[float, int]) -> None:
    eps, ddof = options
    got = GRPO(eps=eps, ddof=ddof)(matrix(rewards, weights_K)).values_B
    check(textbook_grpo(rewards, torch.tensor(weights_K, dtype=torch.float64), eps, ddof), got)


@given(batches(), weights)
def test_grpo_no_std(rewards: Tensor, weights_K: list[float]) -> None:
    got = GRPONoStd()(matrix(rewards, weights_K)).values_B
    check(textbook_grpo_no_std(rewards, torch.tensor(weights_K, dtype=torch.float64)), got)


@given(batches(), weights, options)
def test_gdpo(rewards: Tensor, weights_K: list[float], options: tuple[float, int]) -> None:
    eps, ddof = options
    expected = textbook_gdpo(rewards, torch.tensor(weights_K, dtype=torch.float64), eps, ddof)
    got = GDPO(eps=eps, ddof=ddof)(matrix(rewards, weights_K)).values_B
    # Sums that cancel on paper leave the textbook with rounding, which it then divides by itself.
    assume(bool(got.any()))
    check(expected, got)


@pytest.mark.parametrize("inner", [GRPO(eps=0), GRPONoStd(), GDPO(eps=0)], ids=repr)
@given(rewards=batches(), at_least=st.sampled_from([-1.0, 0.0, 1.0]))
def test_conditioned(inner: Callable[[RewardMatrix], object], rewards: Tensor, at_least: float) -> None:
    estimator = Conditioned(inner, {"c": {"on": "a", "at_least": at_least}})  # type: ignore[arg-type, dict-item]
    seen = estimator.transform(matrix(rewards, [1.0, 1.0, 1.0]))
    assert torch.equal(seen.values_BK, textbook_conditioned(rewards, 2, 0, at_least).flatten(0, 1))


@pytest.mark.parametrize("function", TEXTBOOK)
def test_a_textbook_version_is_short(function: Callable[..., Tensor]) -> None:
    assert len(inspect.getsource(function).splitlines()) <= LINES
