"""Weights of four bits in the place of those that adapters leave alone (QLoRA, arXiv 2305.14314; bitsandbytes).

What such a weight stands for is in `morl.policy.codes`, the layer that has one in `morl.policy.linear4bit`.
"""

from __future__ import annotations

from typing import Any

from torch import nn
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
