"""A sharded policy is sampled from a whole copy, which follows its weights and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import spawn

from morl.errors import RolloutError
from morl.policy.load import load_policy, load_tokenizer
from morl.policy.options import LoRA
from morl.rollout.replica import copy_weights
from morl.rollout.transformers import TransformersBackend
from morl.types import EncodedPrompt, Prompt, Sampling

LOGPROBS = 1e-4
"""Of float32 log-probabilities by another way through the model; see "Limits for rounding" in CONTRIBUTING.md."""

PROMPTS = [EncodedPrompt(Prompt(""), "", ids) for ids in ((5, 6, 7), (9, 8))]
SAMPLING = Sampling(max_tokens=12)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def trained(path: Path, lora: LoRA | None) -> Any:
    """A policy whose trainable weights, adapters too, are no longer those it is loaded with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the first adapter weights
        policy = load_policy(str(path), lora=lora)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=source), alpha=0.1)
    return policy


def shard(policy: Any) -> Any:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in policy.base_model.model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(policy, mesh=mesh)


def batch_of(policy: Any, path: Path, seeds: tuple[int, int] = (1, 2)) -> Any:
    backend = TransformersBackend()
    backend.start(policy, load_tokenizer(str(path)), str(path))
    backend.sync_weights(3)
    return backend.generate(PROMPTS, 3, SAMPLING, seeds)


@pytest.mark.parametrize("lora", [None, LoRA(rank=4)])
def test_copy_samples_as_the_policy_would(tiny_model: Path, one_process: None, lora: LoRA | None) -> None:
    expected = batch_of(trained(tiny_model, lora), tiny_model)
    sharded = shard(trained(tiny_model, lora))
    random_state = torch.get_rng_state()
    got = batch_of(sharded, tiny_model)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert got.texts == expected.texts
    assert got.weights_versions_B.tolist() == [3] * len(got)
    torch.testing.assert_close(got.rollout_logprobs_BT, expected.rollout_logprobs_BT, atol=LOGPROBS, rtol=0)


def test_copy_follows_a_sync_and_not_before(tiny_model: Path, one_process: None) -> None:
    policy = shard(load_policy(str(tiny_model)))
    backend = TransformersBackend()
    backend.start(policy, load_tokenizer(str(tiny_model)), str(tiny_model))
    with pytest.raises(RolloutError, match=r"not copied yet: call sync_weights\(\) on every rank"):
        backend.generate(PROMPTS, 3, SAMPLING, [1, 2])
    backend.sync_weights(1)
    before = backend.generate(PROMPTS, 3, SAMPLING, [1, 2])
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.5)
    unsynced = backend.generate(PROMPTS, 3, SAMPLING, [1, 2])
    assert torch.equal(unsynced.rollout_logprobs_BT, before.rollout_logprobs_BT)
    backend.sync_weights(2)
    after = backend.generate(PROMPTS, 3, SAMPLING, [1, 2])
    assert not torch.equal(after.rollout_logprobs_BT, before.rollout_logprobs_BT)


def test_a_copy_that_does_not_fit() -> None:
    source = torch.nn.Sequential(torch.nn.Linear(2, 3))
    with pytest.raises(RolloutError, match=r"'0.weight' has shape \(3, 2\) in the policy and \(4, 2\)"):
        copy_weights(source, torch.nn.Sequential(torch.nn.Linear(2, 4)))
    with pytest.raises(RolloutError, match=r"has no tensor '1.weight'"):
        copy_weights(source, torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)))


def _rank(rank: int, path: Path, store: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    got = batch_of(shard(load_policy(str(path))), path, (rank, rank + 10))  # ranks end at different steps
    expected = batch_of(load_policy(str(path)), path, (rank, rank + 10))
    assert got.texts == expected.texts
    torch.testing.assert_close(got.rollout_logprobs_BT, expected.rollout_logprobs_BT, atol=LOGPROBS, rtol=0)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks(tiny_model: Path, tmp_path: Path) -> None:
    start: Any = spawn  # torch leaves it untyped
    start(_rank, args=(tiny_model, tmp_path / "store"), nprocs=2)
