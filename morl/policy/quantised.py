"""Weights of four bits in the place of those that adapters leave alone (QLoRA, arXiv 2305.14314; bitsandbytes).

A quantised weight stands for one dense matrix, its codes times their scales.  That matrix is what every pass multiplies
by, what an adapter is merged into for the export, and what an engine is sent: there is one network, and it is exported
without loss beyond the rounding of its dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from morl.errors import ConfigError
from morl.policy.options import LoRA, Quantisation

BLOCK = 64
"""Weights that share a scale."""


def quantise(model: PreTrainedModel, options: Quantisation, lora: LoRA) -> None:
    """Puts weights of four bits into the model's linear layers, where it is; in place.

    The head, embeddings and norms stay dense, as do layers that are trained whole, what is no `nn.Linear`, such as
    experts that a model keeps in one tensor, and layers whose inputs are not whole blocks of 64: of some of these
    bitsandbytes 0.50 reads the scales of other blocks on a CPU.

    Raises:
        ConfigError: no layer can be quantised.
    """
    from morl.policy.linear4bit import Linear4bit

    head: Any = model.get_output_embeddings()
    dense = [(path, module) for path, module in model.named_modules() if type(module) is nn.Linear]
    chosen = [
        (path, module)
        for path, module in dense
        if module is not head
        and module.in_features % BLOCK == 0
        and not any(path == name or path.endswith(f".{name}") for name in lora.modules_to_save)
    ]
    if not chosen:
        raise ConfigError(
            f"policy.quantisation has no effect: {type(model).__name__} has no linear layer with a multiple of {BLOCK}"
            " inputs besides its head and policy.lora.modules_to_save; leave it out"
        )
    for path, module in chosen:
        owner, _, name = path.rpartition(".")
        setattr(model.get_submodule(owner), name, Linear4bit.of(module, options))
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # peft then looks for such layers


def is_quantised(weight: Tensor) -> bool:
    """Whether a parameter holds codes; its class is bitsandbytes'."""
    return getattr(weight, "quant_state", None) is not None


@torch.no_grad()
def dense_weight(weight: Any) -> Tensor:
    """The matrix that a quantised parameter stands for, (out, in), in the dtype that the model was loaded in."""
    from bitsandbytes.functional import dequantize_4bit

    matrix: Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return matrix


def dense_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`weights`, named as in `model.state_dict()`, with codes replaced by the matrices that they stand for."""
    codes = {name: weight for name, weight in model.named_parameters(remove_duplicate=False) if is_quantised(weight)}
    return {name: dense_weight(codes[name]) if name in codes else tensor for name, tensor in weights.items()}


def scales_of(weight: Tensor) -> list[Tensor]:
    """What belongs to a quantised parameter beside its codes; nothing of any other."""
    state: Any = getattr(weight, "quant_state", None)
    return [] if state is None else list(state.as_dict(packed=True).values())
