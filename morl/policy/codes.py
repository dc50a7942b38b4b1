"""What weights of four bits stand for; see `morl.policy.quantised`.

A quantised weight stands for one dense matrix, its codes times their scales.  That matrix is what every pass multiplies
by, what an adapter is merged into for the export, and what an engine is sent: there is one network, and it is exported
without loss beyond the rounding of its dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


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
