"""Copies of a model for trials, in float32 or float64, no larger than they have to be."""

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
    """The model itself if it is in float32, else a copy: rounding to half precision would hide mistakes."""
    if model.dtype in (torch.float32, torch.float64):
        return model
    short = short_copy(model)
    return copy.deepcopy(model).float() if short is None else short


def exact_copy(model: PreTrainedModel) -> PreTrainedModel | None:
    """A float64 copy, short if the model is a large one; None if it cannot be computed so.

    In it a difference that is rounding vanishes, and one between two formulas stays.
    """
    exact = short_copy(model)
    if exact is None:
        return None
    try:
        exact = exact.double()
        if hasattr(exact, "set_experts_implementation"):
            exact.set_experts_implementation("eager")  # grouped products are not made for float64
        with torch.no_grad():
            exact(input_ids=torch.tensor([[1, 2, 3]], device=exact.device), use_cache=False)
    except Exception:  # noqa: BLE001 - any model code may run here
        return None
    return exact


def short_copy(model: PreTrainedModel, layers: int = LAYERS) -> PreTrainedModel | None:
    """A float32 copy of a small model, or of the first layers of a large one; None if it does not stand that."""
    if sum(parameter.numel() for parameter in model.parameters()) <= WHOLE:
        whole: PreTrainedModel = copy.deepcopy(model).float()
        return whole
    try:
        short = _first_layers(model, layers)
        with torch.no_grad():
            short(input_ids=torch.tensor([[1, 2, 3]], device=short.device), use_cache=False)
    except Exception:  # noqa: BLE001 - any model code may run here
        return None
    return short


def _first_layers(model: PreTrainedModel, layers: int) -> PreTrainedModel:
    """A copy with as few layers as have every kind of layer that the config names, and at least `layers`."""
    config: Any = model.config.get_text_config()
    number = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None) or [None] * number
    kept = min(number, max(layers, *(kinds.index(kind) + 1 for kind in kinds)))
    # What is in `memo` is not copied again: neither the whole stack nor the config that all modules share.
    memo: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == number:
            memo[id(module)] = nn.ModuleList(copy.deepcopy(layer, memo) for layer in module[:kept])
    short: PreTrainedModel = copy.deepcopy(model, memo).float()
    settings: Any = short.config.get_text_config()
    settings.num_hidden_layers = kept
    if getattr(settings, "layer_types", None):
        settings.layer_types = settings.layer_types[:kept]
    return short
