"""Importance weights make samples of one policy count as samples of another."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morl.loss import importance_weights

UNBOUNDED = {"correction": "truncated", "low": 0.0, "high": 1e9}


def table(seed: int, steps: int, words: int) -> torch.Tensor:
    """Log-probabilities (steps, words) of a policy without memory."""
    return torch.randn(steps, words, generator=torch.Generator().manual_seed(seed)).double().log_softmax(-1)


@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_sequence_weights_are_unbiased(one, two):
    """E under the sampling policy of weight x f is E of f under the other, for any f; summed over every sequence."""
    steps, words = 3, 3
    rollout, old = table(one, steps, words), table(two, steps, words)
    sequences = torch.tensor(list(itertools.product(range(words), repeat=steps)))
    places = torch.arange(steps)
    rollout_BT, old_BT = rollout[places, sequences], old[places, sequences]
    mask = torch.ones_like(sequences, dtype=torch.bool)
    weights = importance_weights(old_BT, rollout_BT, mask, level="sequence", **UNBOUNDED).values_BT[:, 0].double()
    f = torch.randn(len(sequences), generator=torch.Generator().manual_seed(one + 1)).double()
    expected = (old_BT.sum(1).exp() * f).sum()
    torch.testing.assert_close((rollout_BT.sum(1).exp() * weights * f).sum(), expected, atol=1e-5, rtol=1e-4)


@given(st.integers(0, 2**31), st.floats(0.1, 0.9), st.floats(1.1, 5.0))
def test_bounds_hold_and_are_reported(seed, low, high):
    generator = torch.Generator().manual_seed(seed)
    old, rollout = torch.randn(4, 5, generator=generator), torch.randn(4, 5, generator=generator)
    mask = torch.rand(4, 5, generator=generator) < 0.7
    ratio = (old.double() - rollout.double()).exp()
    truncated = importance_weights(old, rollout, mask, correction="truncated", level="token", low=low, high=high)
    masked = importance_weights(old, rollout, mask, correction="masked", level="token", low=low, high=high)
    outside = (ratio < low) | (ratio > high)
    torch.testing.assert_close(truncated.values_BT, (ratio.clamp(max=high) * mask).float())
    torch.testing.assert_close(masked.values_BT, (ratio * (mask & ~outside)).float())
    assert torch.equal(truncated.bounded_BT, mask & (ratio > high))
    assert torch.equal(masked.bounded_BT, mask & outside)


def test_padding_does_not_enter_the_ratio_of_a_sequence():
    old, rollout = torch.tensor([[0.0, -1.0, 9.0]]), torch.tensor([[-1.0, -1.0, 0.0]])
    mask = torch.tensor([[True, True, False]])
    weights = importance_weights(old, rollout, mask, level="sequence", **UNBOUNDED).values_BT
    torch.testing.assert_close(weights, torch.tensor([[torch.e, torch.e, 0.0]]))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"three tensors \(B, T\); got \(1, 2\), \(1, 3\) and \(1, 2\)"):
        importance_weights(
            torch.zeros(1, 2), torch.zeros(1, 3), torch.ones(1, 2, dtype=torch.bool), level="token", **UNBOUNDED
        )
