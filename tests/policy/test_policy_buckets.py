"""The two ways to compute shared-prompt attention agree, and little of the padded one is padding."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from morl.policy.buckets import make_buckets, split_by_size
from morl.policy.flash_cpu import flash_attention_cpu
from morl.policy.segments import Segment, lay_out, prefixes, runs

ROUNDING = 5e-5
"""Of float32 sums of a few units in another order, which differ by up to 1e-6; a mistake is one of the values' size."""

GROUPS = st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), max_size=4)), min_size=1, max_size=4)


def masked_attention(states: Sequence[Tensor], segments: list[Segment], window: int | None) -> Tensor:
    """One dense mask over the whole axis."""
    query, key, value = states
    N, H, D = query.shape
    owner, position = torch.full((N,), -1), torch.empty(N, dtype=torch.int64)
    prompt_of = torch.empty(N, dtype=torch.int64)
    for index, s in enumerate(segments):
        tokens = slice(s.start, s.start + s.length)
        owner[tokens], position[tokens] = index, torch.arange(s.prompt_length, s.prompt_length + s.length)
        prompt_of[tokens] = s.prompt_start if s.prompt_length else -1
    starts = torch.tensor([segments[o].start for o in owner.tolist()])
    is_prompt = torch.tensor([not segments[o].prompt_length for o in owner.tolist()])
    same = owner[:, None] == owner[None]
    of_prompt = is_prompt[None] & (prompt_of[:, None] == starts[None])
    distance = position[:, None] - position[None]
    visible = (same | of_prompt) & (distance >= 0) & (distance < (window or N))
    key, value = (t.repeat_interleave(H // t.shape[1], 1) for t in (key, value))
    scores = torch.einsum("nhd,mhd->hnm", query, key) * D**-0.5
    return torch.einsum("hnm,mhd->nhd", scores.masked_fill(~visible, float("-inf")).softmax(-1), value)


def states(segments: list[Segment], kv_heads: int) -> list[Tensor]:
    N = segments[-1].start + segments[-1].length
    generator = torch.Generator().manual_seed(N)
    shapes = [(N, 4, 8), (N, kv_heads, 8), (N, kv_heads, 8)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def flash(states: Sequence[Tensor], segments: list[Segment]) -> Tensor:
    query, key, value = states
    return flash_attention_cpu(query, key, value, tuple(runs(segments)), tuple(prefixes(segments)), 8**-0.5)


@settings(max_examples=60)
@given(groups=GROUPS, kv_heads=st.sampled_from([1, 2, 4]), window=st.sampled_from([None, 1, 4]))
def test_attention_sees_the_prompt_and_the_past(
    groups: list[tuple[int, list[int]]], kv_heads: int, window: int | None
) -> None:
    segments = lay_out([prompt for prompt, _ in groups], [completions for _, completions in groups])
    inputs = states(segments, kv_heads)
    expected = masked_attention(inputs, segments, window)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    expected_grads = torch.autograd.grad((expected * weights).sum(), inputs)

    buckets, order = make_buckets(segments, torch.device("cpu"))
    parts = [bucket.attend(*inputs, scale=8**-0.5, window=window, softcap=None) for bucket in buckets]
    outputs = [torch.cat(parts)[order]]
    if window is None:
        outputs.append(flash(inputs, segments))
    for output in outputs:
        torch.testing.assert_close(output, expected, atol=ROUNDING, rtol=ROUNDING)
        for got, grad in zip(torch.autograd.grad((output * weights).sum(), inputs), expected_grads, strict=True):
            torch.testing.assert_close(got, grad, atol=ROUNDING, rtol=ROUNDING)


def test_double_precision_gradients_of_the_flash_path() -> None:
    segments = lay_out([3, 2], [[2, 2, 1], [3]])
    inputs = [state.detach().double().requires_grad_() for state in states(segments, 2)]
    assert torch.autograd.gradcheck(lambda *states: flash(states, segments), inputs)


def test_equal_neighbours_are_one_run() -> None:
    found = list(runs(lay_out([4, 4, 3], [[5, 5], [5], [2]])))
    assert [(run.start, run.count, run.length) for run in found] == [(0, 2, 4), (8, 1, 3), (11, 3, 5), (26, 1, 2)]


@pytest.mark.parametrize("mean", [10, 35, 100])
def test_few_buckets_and_little_padding(mean: int) -> None:
    generator = torch.Generator().manual_seed(mean)
    lengths = (-mean * torch.rand(128, generator=generator).log()).ceil().clamp(1, 256).long().reshape(16, 8)
    segments = lay_out([20 + 2 * index for index in range(16)], lengths.tolist())
    groups = split_by_size(segments)
    padded = sum(
        len(group) * max(s.length for s in group) * (max(s.prompt_length for s in group) + max(s.length for s in group))
        for group in groups
    )
    assert padded <= 1.35 * sum(s.length * (s.prompt_length + s.length) for s in segments)
    assert len(groups) <= 16
    assert sorted(s.start for group in groups for s in group) == [s.start for s in segments]
