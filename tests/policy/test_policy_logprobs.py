"""The vocabulary-sized part: values, gradients and entropy against torch's own log_softmax."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from morl.policy import logprobs
from morl.policy.logprobs import token_logprobs

ROUNDING = 2e-5
"""Of float32 sums of a few units in another order, which differ by up to 1e-6; a mistake is one of the values' size."""

ROWS = torch.tensor([0, 0, 3, 2, 0, 6])  # row 0 predicts three tokens, rows 1, 4 and 5 none
TARGETS = torch.tensor([4, 1, 0, 10, 4, 7])


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 11, generator=generator) * 3
    return logits.to(dtype).requires_grad_(), torch.randn(6, generator=generator)


def reference(logits: Tensor, temperature: float) -> Tensor:
    return (logits.float() / temperature).log_softmax(-1)


@pytest.mark.parametrize("chunk", [1, 22, 2**20])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_gradients_and_entropy(monkeypatch: pytest.MonkeyPatch, chunk: int, temperature: float) -> None:
    monkeypatch.setitem(logprobs._CHUNK, "cpu", chunk)
    logits, weights = inputs()
    expected = reference(logits, temperature)
    torch.autograd.backward((expected[ROWS, TARGETS] * weights).sum())
    expected_grad, logits.grad = logits.grad, None

    got = token_logprobs(logits * 1.0, ROWS, TARGETS, temperature=temperature, entropy=True)
    torch.autograd.backward((got.logprobs_T * weights).sum())
    assert got.entropy_T is not None
    torch.testing.assert_close(got.logprobs_T, expected[ROWS, TARGETS], atol=ROUNDING, rtol=ROUNDING)
    torch.testing.assert_close(got.entropy_T, -(expected.exp() * expected).sum(-1)[ROWS], atol=ROUNDING, rtol=ROUNDING)
    torch.testing.assert_close(logits.grad, expected_grad, atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize("chunk", [1, 22, 2**20])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("with_logprobs", [True, False])
def test_gradient_of_the_entropy(
    monkeypatch: pytest.MonkeyPatch, chunk: int, temperature: float, with_logprobs: bool
) -> None:
    monkeypatch.setitem(logprobs._CHUNK, "cpu", chunk)
    logits, weights = inputs()
    expected = reference(logits, temperature)
    loss = -((expected.exp() * expected).sum(-1)[ROWS] * weights).sum()
    torch.autograd.backward(loss + with_logprobs * (expected[ROWS, TARGETS] * weights.flip(0)).sum())
    expected_grad, logits.grad = logits.grad, None
    got = token_logprobs(logits * 1.0, ROWS, TARGETS, temperature=temperature, entropy=True)
    assert got.entropy_T is not None
    loss = (got.entropy_T * weights).sum()
    if with_logprobs:
        loss = loss + (got.logprobs_T * weights.flip(0)).sum()
    torch.autograd.backward(loss)
    torch.testing.assert_close(logits.grad, expected_grad, atol=ROUNDING, rtol=ROUNDING)


def test_tokens_that_the_model_rules_out_leave_the_gradient_of_the_entropy_finite() -> None:
    logits, _ = inputs()
    ruled_out = torch.zeros(11).index_fill(0, torch.tensor([2, 3]), -torch.inf)
    got = token_logprobs(logits + ruled_out, ROWS, TARGETS.clamp(min=4), entropy=True)
    assert got.entropy_T is not None
    torch.autograd.backward(got.entropy_T.sum())
    kept = torch.tensor([token for token in range(11) if token not in (2, 3)])
    gradient, logits.grad = logits.grad, None
    logprobs_NV = reference(logits[:, kept], 1.0)
    torch.autograd.backward(-(logprobs_NV.exp() * logprobs_NV).sum(-1)[ROWS].sum())
    torch.testing.assert_close(gradient, logits.grad, atol=ROUNDING, rtol=ROUNDING)


def test_the_entropy_takes_no_second_tensor_of_the_vocabularys_size() -> None:
    """Neither for a loss that uses it nor for one that does not."""
    logits, _ = inputs()
    saved: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        token_logprobs(logits * 1.0, ROWS, TARGETS, entropy=True)
    assert sum(size >= logits.numel() for size in saved) == 1


def test_half_precision_logits_are_normalised_in_float32() -> None:
    logits, weights = inputs(torch.bfloat16)
    expected = reference(logits, 1.0)
    torch.autograd.backward((expected[ROWS, TARGETS] * weights).sum())
    expected_grad, logits.grad = logits.grad, None
    got = token_logprobs(logits * 1.0, ROWS, TARGETS).logprobs_T
    torch.autograd.backward((got * weights).sum())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected[ROWS, TARGETS], atol=ROUNDING, rtol=ROUNDING)
    torch.testing.assert_close(logits.grad, expected_grad, atol=2**-4, rtol=2**-4)  # bfloat16 rounds by 2^-9


def test_logits_whose_own_gradient_needs_their_values_survive() -> None:
    logits, weights = inputs()
    torch.autograd.backward((reference(logits.tanh(), 1.0)[ROWS, TARGETS] * weights).sum())
    expected_grad, logits.grad = logits.grad, None
    torch.autograd.backward((token_logprobs(logits.tanh(), ROWS, TARGETS).logprobs_T * weights).sum())
    torch.testing.assert_close(logits.grad, expected_grad, atol=ROUNDING, rtol=ROUNDING)


def test_tokens_that_the_model_rules_out_add_nothing_to_the_entropy() -> None:
    logits = torch.tensor([[0.0, 0.0, float("-inf")]])
    got = token_logprobs(logits, torch.tensor([0]), torch.tensor([1]), entropy=True)
    assert got.entropy_T is not None
    torch.testing.assert_close(got.entropy_T, torch.tensor([2.0]).log())


def test_no_token_at_all() -> None:
    logits, _ = inputs()
    none = torch.zeros(0, dtype=torch.int64)
    got = token_logprobs(logits * 1.0, none, none).logprobs_T
    torch.autograd.backward(got.sum())
    assert got.shape == (0,)
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_second_backward_is_refused_rather_than_wrong() -> None:
    logits, _ = inputs()
    total = token_logprobs(logits * 1.0, ROWS, TARGETS).logprobs_T.sum()
    torch.autograd.backward(total, retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(total)


def test_keeps_one_tensor_of_the_size_of_the_logits() -> None:
    """Of tensors saved for backward, only the softmax is as large as the logits, and it lies in their memory."""
    logits, _ = inputs()
    scaled = logits * 1.0
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        token_logprobs(scaled, ROWS, TARGETS)
    large = [tensor for tensor in saved if tensor.numel() >= scaled.numel()]
    assert [tensor.data_ptr() for tensor in large] == [scaled.data_ptr()]
