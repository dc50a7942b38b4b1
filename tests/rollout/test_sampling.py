"""The law of the sampler: what it draws, with what probability, from which stream."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morl.rollout.sampling import BLOCK, HEAD, SeenTokens, UniformStreams, draw
from morl.types import Sampling

ROUNDING = 2e-5
"""Of float32 sums of a few units in another order, which differ by up to 1e-6; a mistake is one of the values' size."""

CPU = torch.device("cpu")
PROBS = torch.tensor([0.05, 0.3, 0.0, 0.2, 0.1, 0.35])


def first_uniforms(N: int) -> torch.Tensor:
    return UniformStreams([(11, member) for member in range(N)], CPU).at(0, torch.arange(N))


MANY = first_uniforms(60_000)


def counts(sampling: Sampling, N: int = len(MANY)) -> torch.Tensor:
    tokens, _ = draw(PROBS.log().expand(N, -1), MANY[:N], sampling)
    return tokens.bincount(minlength=len(PROBS)).double()


def chi_square(sampling: Sampling, expected: torch.Tensor) -> float:
    seen = counts(sampling)
    expected = (expected / expected.sum()).double() * seen.sum()
    assert seen[expected == 0].sum() == 0, "drew a token of probability 0"
    kept = expected > 0
    return float(((seen - expected) ** 2 / expected)[kept].sum())


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), PROBS),
        (Sampling(temperature=2.0), PROBS**0.5),
        (Sampling(temperature=0.5), PROBS**2),
        (Sampling(top_k=2), torch.tensor([0, 0.3, 0, 0, 0, 0.35])),
        (Sampling(top_k=100), PROBS),
        # .35 + .3 = .65 does not reach .7, so .2 belongs to the smallest set that does.
        (Sampling(top_p=0.7), torch.tensor([0, 0.3, 0, 0.2, 0, 0.35])),
        (Sampling(top_p=0.64), torch.tensor([0, 0.3, 0, 0, 0, 0.35])),
        (Sampling(top_p=0.01), torch.tensor([0, 0, 0, 0, 0, 1.0])),
        # Of the two that top-k leaves, the first has 54%.
        (Sampling(top_k=2, top_p=0.5), torch.tensor([0, 0, 0, 0, 0, 1.0])),
        (Sampling(top_k=2, top_p=0.6), torch.tensor([0, 0.3, 0, 0, 0, 0.35])),
    ],
)
def test_draws_from_the_distribution(sampling: Sampling, expected: torch.Tensor) -> None:
    # 99.99% quantile of chi-square at 5 degrees of freedom: 25.7.
    assert chi_square(sampling, expected) < 25.7


def test_temperature_0_is_greedy() -> None:
    assert counts(Sampling(temperature=0.0), 100).tolist() == [0, 0, 0, 0, 0, 100]


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(temperature=0.7), Sampling(temperature=3.0, top_k=2), Sampling(top_p=0.3)]
)
def test_logprobs_are_those_before_the_cut(sampling: Sampling) -> None:
    logits = torch.randn(50, 400, generator=torch.Generator().manual_seed(0)) * 4
    tokens, logprobs = draw(logits, torch.linspace(0, 0.999, 50), sampling)
    expected = (logits / sampling.temperature).log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    torch.testing.assert_close(logprobs, expected, atol=ROUNDING, rtol=ROUNDING)


def test_logprobs_at_temperature_0_are_those_at_1() -> None:
    logits = torch.randn(8, 30, generator=torch.Generator().manual_seed(0))
    tokens, logprobs = draw(logits, torch.empty(0), Sampling(temperature=0.0))
    torch.testing.assert_close(logprobs, logits.log_softmax(-1).amax(-1))
    assert tokens.tolist() == logits.argmax(-1).tolist()


@given(
    st.lists(st.sampled_from([0.0, 1e-30, 1e-8, 0.1, 1.0]), min_size=1, max_size=40).filter(any),
    st.sampled_from([0.0, 1e-9, 0.5, 1 - 2**-24]),
    st.sampled_from([Sampling(), Sampling(top_p=0.9), Sampling(top_k=3), Sampling(temperature=0.5)]),
)
def test_never_draws_the_impossible(weights: list[float], uniform: float, sampling: Sampling) -> None:
    logits = torch.tensor([weights]).log()
    tokens, logprobs = draw(logits, torch.tensor([uniform]), sampling)
    assert weights[int(tokens)] > 0
    assert math.isfinite(float(logprobs))


def test_top_p_reaches_beyond_the_head_row_by_row() -> None:
    flat, peaked = torch.zeros(4 * HEAD), torch.zeros(4 * HEAD)
    peaked[7] = 20.0
    N = 4000
    uniforms = MANY[:N]
    sampling = Sampling(top_p=0.9)
    together, _ = draw(torch.stack([flat, peaked]).repeat(N // 2, 1), uniforms, sampling)
    drawn = set(together[0::2].tolist())
    assert HEAD < len(drawn) <= math.ceil(0.9 * 4 * HEAD) + 1
    alone, _ = draw(peaked.repeat(N // 2, 1), uniforms[1::2], sampling)
    assert together[1::2].tolist() == alone.tolist()


def test_half_precision_logits_are_read_as_float32() -> None:
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    _, logprobs = draw(logits, torch.full((4,), 0.5), Sampling())
    assert logprobs.dtype == torch.float32


def test_a_stream_goes_on_from_block_to_block() -> None:
    generator = np.random.Generator(np.random.Philox(key=np.array([5, 3], dtype=np.uint64)))
    expected = np.concatenate([generator.random(BLOCK, dtype=np.float32) for _ in range(3)])
    stream = UniformStreams([(5, 3)], CPU)
    assert [float(stream.at(step, torch.tensor([0]))) for step in range(3 * BLOCK)] == expected.tolist()


def test_streams_differ_by_seed_and_member_and_depend_on_nothing_else() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (2**63 - 1, 0), (2**63 - 1, 5)]
    steps = 150  # more than two blocks
    together = UniformStreams(keys, CPU)
    everyone = torch.stack([together.at(step, torch.arange(5)) for step in range(steps)], 1)
    assert len({tuple(row) for row in everyone.tolist()}) == 5
    assert bool(((everyone >= 0) & (everyone < 1)).all())
    # Row 3 alone, and while others leave.
    alone, leaving = UniformStreams(keys[3:4], CPU), UniformStreams(keys, CPU)
    for step in range(steps):
        assert alone.at(step, torch.tensor([0])) == everyone[3, step]
        live = torch.arange(5) if step < 10 else torch.tensor([4, 3])
        assert leaving.at(step, live)[-1 if step >= 10 else 3] == everyone[3, step]


# Settings that other code can compute, too ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(min_p=0.3),
        Sampling(min_p=0.1, top_p=0.8, temperature=0.7),
        Sampling(min_p=0.2, top_k=5),
        Sampling(repetition_penalty=1.7),
        Sampling(repetition_penalty=0.6, temperature=1.3, top_k=9),
        Sampling(repetition_penalty=1.2, min_p=0.05, top_p=0.9, temperature=2.0),
    ],
)
def test_the_distribution_is_that_of_transformers(sampling: Sampling) -> None:
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    V = 24
    logits = 2 * torch.randn(1, V, generator=torch.Generator().manual_seed(3))
    prompt, completion = [3, 1, 3, 8], [5, 20]
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)])
    processors.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        processors.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        processors.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        processors.append(MinPLogitsWarper(sampling.min_p))
    wanted = processors(torch.tensor([prompt + completion]), logits.clone()).softmax(-1)[0]

    N = 20000
    seen = SeenTokens([prompt] * N, V, logits.device)
    for token in completion:
        seen.add(torch.full((N,), token))
    uniforms = (torch.arange(N) + 0.5) / N
    tokens, logprobs = draw(logits.expand(N, -1), uniforms, sampling, seen)
    got = torch.bincount(tokens, minlength=V) / N
    # Uniforms on a grid: each share is exact up to one step of it at either end.
    assert (got - wanted).abs().max() < 3 / N
    # What is written down is the policy's own distribution.
    assert torch.allclose(logprobs, (logits[0] / sampling.temperature).log_softmax(-1)[tokens], atol=1e-5)


def test_a_penalty_follows_the_rows_that_are_left() -> None:
    seen = SeenTokens([[0], [1], []], 3, torch.device("cpu"))
    seen.add(torch.tensor([1, 1, 2]))
    seen.keep(torch.tensor([2, 0]))
    logits = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    assert seen.penalised(logits, 2.0).tolist() == [[1.0, 1.0, 0.5], [0.5, 0.5, 1.0]]
