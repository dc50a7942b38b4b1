"""A policy in pieces, one on every rank (FSDP2)."""

from __future__ import annotations

import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from morl.policy.model import PolicyModel


def shard(policy: PolicyModel, device_type: str) -> None:
    """Shards the policy over all ranks, block by block; every rank must call."""
    # One dimension over all ranks; by default Lightning would make the ranks of a node tensor-parallel.
    mesh = init_device_mesh(device_type, (dist.get_world_size(),))
    blocks = set(getattr(policy.model, "_no_split_modules", None) or ())
    for module in policy.modules():
        if type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh)
    fully_shard(policy, mesh=mesh)


def gather_anew(policy: PolicyModel) -> None:
    """Leaves no whole weights behind that a pass gathered; nothing if the policy is not sharded.

    FSDP2 keeps those outside the blocks until a backward pass.  peft says which weights are trained by `requires_grad`
    of the tensors that it finds, when adapters are switched off and when they are switched on; were these whole at one
    time and shards at the other, the next gathering would take over from the shards that they are not trained.
    """
    for module in policy.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
