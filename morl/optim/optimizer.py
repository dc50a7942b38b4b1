"""Optimizers, and what is asked of anybody's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from attrs import Attribute, field, frozen
from jsonargparse.typing import NonNegativeFloat
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from morl.errors import ConfigError, MorlError, PluginError
from morl.hookspecs import OptimizerBuilder


def _check_betas(instance: object, attribute: Attribute[Any], value: Sequence[float]) -> None:
    if len(value) != 2 or not all(0 <= beta < 1 for beta in value):
        raise ConfigError(f"betas must be two numbers of at least 0 and below 1; got {list(value)}")


def _check_finite(instance: object, attribute: Attribute[Any], value: float) -> None:
    if not math.isfinite(value):
        raise ConfigError(f"{attribute.name} must be finite; got {value}")


@frozen
class AdamW:
    """Adam with decoupled weight decay (arXiv 1711.05101).

    Args:
        betas: decay of the two moments.
        eps: added to the denominator.
        weight_decay: decoupled weight decay.

    Raises:
        ConfigError: an option out of its range.
    """

    betas: tuple[float, float] = field(default=(0.9, 0.999), converter=tuple, validator=_check_betas)
    eps: NonNegativeFloat = field(default=1e-8, validator=_check_finite)
    weight_decay: NonNegativeFloat = field(default=0.0, validator=_check_finite)

    def __call__(self, parameters: Sequence[tuple[str, nn.Parameter]], lr: float) -> Optimizer:
        tensors = [parameter for _, parameter in parameters]
        return torch.optim.AdamW(
            tensors,
            lr=lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=not any(isinstance(tensor, DTensor) for tensor in tensors),
        )


def build_optimizer(builder: OptimizerBuilder, policy: nn.Module, lr: float, label: str = "the optimizer") -> Optimizer:
    """The optimizer of what is trainable in `policy`.

    Raises:
        PluginError: the builder fails, makes no optimizer, or one that leaves trainable parameters out, has others, or
            has some twice; the message begins with `label`.
    """
    trainable = [(name, parameter) for name, parameter in policy.named_parameters() if parameter.requires_grad]
    try:
        optimizer = builder(trainable, lr)
    except MorlError as error:
        raise type(error)(f"{label}: {error}") from error
    except Exception as error:
        raise PluginError(f"{label} could not be made: {type(error).__name__}: {error}") from error
    if not isinstance(optimizer, Optimizer):
        raise PluginError(f"{label} is a {type(optimizer).__name__}; expected a torch.optim.Optimizer")
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    missing = [name for name, parameter in trainable if id(parameter) not in held]
    strange = len({*held} - {id(parameter) for _, parameter in trainable})
    if missing or strange or len(held) != len({*held}):
        fault = f"leaves out {missing[0]!r}" if missing else "holds parameters that are not the policy's, or some twice"
        raise PluginError(
            f"{label} {fault}; it must hold each of the {len(trainable)} parameters that it is given once"
        )
    return optimizer
