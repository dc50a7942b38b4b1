"""A policy in pieces, one on every rank (FSDP2)."""

from __future__ import annotations

import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

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
