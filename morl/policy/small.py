"""A float32 copy of a model for trials: in half precision rounding would hide what a trial looks for."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

WHOLE = 30_000_000
"""Parameters up to which a copy is made of the whole model; of a larger one it has the first layers only."""

LAYERS = 4


def float32_copy(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself if it is in float32, else a copy of it, or of a model of its first layers, with its weights."""
    if model.dtype in (torch.float32, torch.float64):
        return model
    if sum(parameter.numel() for parameter in model.parameters()) > WHOLE:
        try:
            short = _first_layers(model)
            with torch.no_grad():
                short(input_ids=torch.tensor([[1, 2, 3]], device=short.device), use_cache=False)
            return short
        except Exception:  # noqa: BLE001 - any model code may run here, and a model of its own kind is copied whole
            pass
    return copy.deepcopy(model).float()


def _first_layers(model: PreTrainedModel) -> PreTrainedModel:
    """A copy with as few layers as have every kind of layer that the config names, and at least `LAYERS`."""
    config: Any = model.config.get_text_config()
    number = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None) or [None] * number
    kept = min(number, max(LAYERS, *(kinds.index(kind) + 1 for kind in kinds)))
    memo: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == number:
            memo[id(module)] = None
    stacks = [module for module in model.modules() if id(module) in memo]
    # The configs are shared by all modules and copied once; what is in `memo` is not copied again.
    memo = {}
    for stack in stacks:
        memo[id(stack)] = nn.ModuleList(copy.deepcopy(layer, memo) for layer in list(stack)[:kept])
    short = copy.deepcopy(model, memo).float()
    settings: Any = short.config.get_text_config()
    settings.num_hidden_layers = kept
    if getattr(settings, "layer_types", None):
        settings.layer_types = settings.layer_types[:kept]
    return short
