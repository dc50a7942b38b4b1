"""A whole copy of the policy, to sample from.

Of a sharded one, because decoding would gather every layer for every token, and ranks whose completions end at
different steps would wait for each other; of any, where the next batch is sampled while this one is learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from morl.errors import RolloutError
from morl.policy.attention import ATTENTION
from morl.policy.codes import dense_weight, is_quantised
from morl.policy.model import class_of


def is_sharded(model: nn.Module) -> bool:
    """Whether a parameter of it is a DTensor, as after FSDP2's `fully_shard`."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def build_replica(model: nn.Module, packed: bool) -> nn.Module:
    """An unsharded model of the same config and adapters; its weights are not the policy's yet."""
    config: Any = model.config
    adapted: Any = model
    base: Any = adapted.get_base_model() if hasattr(model, "get_base_model") else model
    attention = ATTENTION if packed else config._attn_implementation
    parameter = next(model.parameters())
    # Making a model draws its initial weights, and the global random state is not ours to advance.
    devices = [parameter.device] if parameter.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.device(parameter.device):
        # Its very class, which may be one that came with the model.
        replica: nn.Module = class_of(base)._from_config(config, attn_implementation=attention, dtype=parameter.dtype)
        for name, adapter in getattr(model, "peft_config", {}).items():
            from peft import PeftModel, get_peft_model

            if isinstance(replica, PeftModel):
                replica.add_adapter(name, adapter)
            else:
                replica = get_peft_model(replica, adapter, adapter_name=name)
    return replica.requires_grad_(False).eval()


@torch.no_grad()
def whole_weights(source: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, unsharded, by name; a copy, which later updates leave alone.

    Every rank of a sharded model has to call it.
    """
    tensors = [*source.named_parameters(), *source.named_buffers()]
    return {name: _whole(tensor) if _apart(tensor) else tensor.clone() for name, tensor in tensors}


def _apart(tensor: Tensor) -> bool:
    """Whether what a replica holds is another tensor: of shards the whole, of codes the matrix that they stand for."""
    return isinstance(tensor, DTensor) or is_quantised(tensor)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else dense_weight(tensor)


@torch.no_grad()
def copy_weights(source: nn.Module | Mapping[str, Tensor], target: nn.Module) -> None:
    """Copies parameters and buffers into `target`, gathered if they are sharded; then every rank has to call it.

    Raises:
        RolloutError: a tensor of the copy has no counterpart of its shape.
    """
    # Not inference_mode: FSDP2's tensors cannot be detached there.
    of_source: Mapping[str, Tensor]
    of_source = source if isinstance(source, Mapping) else dict([*source.named_parameters(), *source.named_buffers()])
    for name, tensor in [*target.named_parameters(), *target.named_buffers()]:
        if name not in of_source:
            raise RolloutError(f"the policy has no tensor {name!r}, which its copy for rollouts has")
        whole = of_source[name]
        if _apart(whole):
            whole = _whole(whole)
        if whole.shape != tensor.shape:
            raise RolloutError(
                f"tensor {name!r} has shape {tuple(whole.shape)} in the policy and {tuple(tensor.shape)} in its copy"
                " for rollouts"
            )
        tensor.copy_(whole)
