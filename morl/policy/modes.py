"""The mode in which a policy is trained: evaluation, except where the flag `training` is about gradients alone.

A model in training mode may draw noise of many kinds and names: dropout, layer drop, jitter of a router.  Importance
ratios compare the probabilities of a token while sampling and while training, which must be those of one network.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

_MODE = "_morl_mode"


def set_mode(model: nn.Module, training: bool) -> None:
    """Puts a model into evaluation mode; while training, without what needs the flag for other things than noise.

    Those are layers that recompute their activations, which ask for it before they do, and the dropout of adapters,
    which was asked for.  Recomputing is enabled before.
    """
    for path, module in model.named_modules():
        module.training = training and ("lora_dropout" in path or _checkpoints(module))
        if module.training and isinstance(module, GradientCheckpointingLayer) and not hasattr(module, _MODE):
            setattr(module, _MODE, True)
            # Inside its forward the flag would mean noise again.
            module.register_forward_pre_hook(_enter)
            module.register_forward_hook(_leave, always_call=True)


def _checkpoints(module: nn.Module) -> bool:
    """Whether the module itself decides to recompute: the layer, or in older models the stack of layers."""
    if getattr(module, "gradient_checkpointing", False) is not True:
        return False
    if isinstance(module, GradientCheckpointingLayer):
        return True
    return not any(isinstance(inner, GradientCheckpointingLayer) for inner in module.modules())


def _enter(module: nn.Module, inputs: Any) -> None:
    setattr(module, _MODE, module.training)
    module.training = False


def _leave(module: nn.Module, inputs: Any, output: Any) -> None:
    module.training = getattr(module, _MODE)
