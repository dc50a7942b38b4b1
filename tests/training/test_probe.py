"""What is compared of a batch that was sampled ahead."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve

from morl.policy.load import load_policy, load_tokenizer
from morl.rollout.transformers import TransformersBackend
from morl.training.probe import MEMBERS, TOKENS, Difference, probe
from morl.types import EncodedPrompt, Prompt, Sampling

LOGPROBS = 1e-4
"""Of float32 log-probabilities by another way through the model; see "Limits for rounding" in CONTRIBUTING.md."""


@pytest.fixture(scope="module")
def policy(tiny_model):
    return load_policy(str(tiny_model))


@pytest.fixture(scope="module")
def rollouts(policy, tiny_model):
    """10 completions of a short, a long and a middling prompt, by weights 0, 3 and 3."""
    backend = TransformersBackend()
    backend.start(policy, load_tokenizer(str(tiny_model)), str(tiny_model))
    prompts = [EncodedPrompt(Prompt(""), "", tuple(range(3, 3 + length))) for length in (2, 9, 5)]
    batch = backend.generate(prompts, 10, Sampling(max_tokens=12, temperature=0.7), [1, 2, 3])
    return evolve(batch, weights_versions_B=torch.tensor([0] * 10 + [3] * 20))


def shifted(rollouts, row, token=0):
    logprobs_BT = rollouts.rollout_logprobs_BT.clone()
    logprobs_BT[row, token] -= 0.5
    return evolve(rollouts, rollout_logprobs_BT=logprobs_BT)


def test_the_start_of_some_completions_of_the_longest_prompt(policy, rollouts):
    right = probe(policy, rollouts, 3, 0.7)
    assert right.tokens == int(rollouts.lengths_B[10 : 10 + MEMBERS].clamp(max=TOKENS).sum())
    assert right.largest < LOGPROBS
    for row in (10, 10 + MEMBERS - 1):
        wrong = probe(policy, shifted(rollouts, row), 3, 0.7)
        assert wrong.largest == pytest.approx(0.5, abs=LOGPROBS)
        assert wrong.mean == pytest.approx(0.5 / wrong.tokens, abs=LOGPROBS)
    for row in (0, 10 + MEMBERS, 20):
        assert probe(policy, shifted(rollouts, row), 3, 0.7).largest < LOGPROBS


def test_only_completions_of_these_weights(policy, rollouts):
    assert probe(policy, shifted(rollouts, 0), 0, 0.7).largest == pytest.approx(0.5, abs=LOGPROBS)
    assert probe(policy, rollouts, 2, 0.7) == Difference()


def test_tokens_beyond_the_start_cost_nothing(policy, rollouts, monkeypatch):
    monkeypatch.setattr("morl.training.probe.TOKENS", 2)
    assert probe(policy, rollouts, 3, 0.7).tokens == int(rollouts.lengths_B[10 : 10 + MEMBERS].clamp(max=2).sum())


def test_differences_are_joined_over_their_tokens():
    first = Difference.between(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
    second = Difference.between(torch.tensor([0.0]), torch.tensor([0.25]))
    both = Difference.joined((first, Difference(), second))
    assert (both.mean, both.largest, both.tokens) == (0.25, 0.5, 3)
    nothing = Difference.between(torch.tensor([]), torch.tensor([]))
    assert (nothing.mean, nothing.largest) == (0.0, 0.0)
