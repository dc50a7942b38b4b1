"""DDP and FSDP2 on two processes give the gradients of one, also where a rank has no token."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from morl.policy.model import PolicyModel

GRADIENT = 1e-4
"""Of a gradient whose sums are shared out, relative to its length: float32 gives 1e-6, a lost share 0.1."""

Batch = tuple[list[list[int]], Tensor, Tensor, Tensor]


def gradients(policy: nn.Module, batch: Batch, scale: float) -> dict[str, Tensor]:
    """Of the sum of the log-probabilities times `scale`."""
    plain = policy.module if isinstance(policy, DistributedDataParallel) else policy
    assert isinstance(plain, PolicyModel)
    torch.autograd.backward(policy(plain.make_plan(*batch)).logprobs_T.sum() * scale)
    grads = {name: parameter.grad for name, parameter in plain.named_parameters()}
    return {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in grads.items() if g is not None}


def work(rank: int, folder: str, model: PreTrainedModel, batch: Batch) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    prompts, groups, ids, mask = batch
    shares = {"halves": torch.arange(rank, len(ids), 2), "all-or-none": torch.arange(len(ids) * rank)}
    for packed in (False, True):
        policy = PolicyModel(copy.deepcopy(model), packed)
        ways: dict[str, Callable[[PolicyModel], nn.Module]] = {"ddp": DistributedDataParallel, "fsdp2": shard}
        for way, wrap in ways.items():
            policy.zero_grad()
            wrapped = wrap(policy)
            for share, rows in shares.items():
                wrapped.zero_grad()
                part = prompts, groups[rows], ids[rows], mask[rows]
                got = gradients(wrapped, part, scale=2.0)  # both average over the ranks
                if rank == 0:
                    torch.save(got, f"{folder}/{packed}-{way}-{share}.pt")
    dist.destroy_process_group()


def shard(policy: PolicyModel) -> nn.Module:
    for layer in policy.base_model.model.layers:
        fully_shard(layer)
    fully_shard(policy)
    return policy


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one(
    make_model: Callable[..., PreTrainedModel], batch: Batch, tmp_path: Path
) -> None:
    start_processes(work, (str(tmp_path), make_model("qwen2"), batch), nprocs=2, start_method="spawn")
    for packed in (False, True):
        expected = gradients(PolicyModel(make_model("qwen2"), packed), batch, scale=1.0)
        for case in ("ddp-halves", "ddp-all-or-none", "fsdp2-halves", "fsdp2-all-or-none"):
            got = torch.load(tmp_path / f"{packed}-{case}.pt")
            assert got.keys() == expected.keys()
            for name, grad in expected.items():
                assert (got[name] - grad).norm() <= GRADIENT * grad.norm(), (packed, case, name)
