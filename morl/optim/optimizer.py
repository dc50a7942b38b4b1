"""AdamW, the default optimizer, and what is asked of anybody's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from attrs import Attribute, field, frozen
from jsonargparse.typing import NonNegativeFloat
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from morl.errors import ConfigError, PluginError, asking
from morl.hookspecs import OptimizerBuilder

Decay: TypeAlias = Literal["all", "matrices"]


def check_betas(instance: object, attribute: Attribute[Any], value: Sequence[float]) -> None:
    if len(value) != 2 or not all(0 <= beta < 1 for beta in value):
        raise ConfigError(f"betas must be two numbers of at least 0 and below 1; got {list(value)}")


def check_finite(instance: object, attribute: Attribute[Any], value: float) -> None:
    if not math.isfinite(value):
        raise ConfigError(f"{attribute.name} must be finite; got {value}")


def check_decay(decay: str, weight_decay: float) -> None:
    """Refuses to tell norms and biases apart where nothing decays."""
    if decay != "all" and weight_decay == 0:
        raise ConfigError(f"decay: {decay} has no effect without weight_decay; set weight_decay, or leave decay out")


@frozen
class AdamW:
    """Adam with decoupled weight decay (arXiv 1711.05101).

    Args:
        betas: decay of the two moments.
        eps: added to the denominator.
        weight_decay: decoupled weight decay.
        decay: what the weight decay applies to: `all` weights, or `matrices`, which leaves out what has one dimension,
            norms and biases.
        fused: one kernel for the whole step; null takes it unless the weights are sharded.

    Raises:
        ConfigError: an option out of its range, or without effect.
    """

    betas: tuple[float, float] = field(default=(0.9, 0.999), converter=tuple, validator=check_betas)
    eps: NonNegativeFloat = field(default=1e-8, validator=check_finite)
    weight_decay: NonNegativeFloat = field(default=0.0, validator=check_finite)
    decay: Decay = "all"
    fused: bool | None = None

    def __attrs_post_init__(self) -> None:
        check_decay(self.decay, self.weight_decay)

    def __call__(self, parameters: Sequence[tuple[str, nn.Parameter]], lr: float) -> Optimizer:
        sharded = any(isinstance(tensor, DTensor) for _, tensor in parameters)
        return torch.optim.AdamW(
            decay_groups(parameters, self.decay),
            lr=lr,
            betas=self.betas,
            eps=self.eps,
            weight_decay=self.weight_decay,
            fused=not sharded if self.fused is None else self.fused,
        )


def decay_groups(parameters: Sequence[tuple[str, nn.Parameter]], decay: Decay) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer: those that bear its weight decay, then those that do not.

    Of one dimension are the scales of norms and the biases; transformers' Trainer tells them by their names.
    """
    without = [tensor for _, tensor in parameters if decay == "matrices" and tensor.ndim < 2]
    left = {id(tensor) for tensor in without}
    groups: list[dict[str, Any]] = [{"params": [tensor for _, tensor in parameters if id(tensor) not in left]}]
    if without:
        groups.append({"params": without, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def build_optimizer(builder: OptimizerBuilder, policy: nn.Module, lr: float, label: str = "the optimizer") -> Optimizer:
    """The optimizer of what is trainable in `policy`.

    Raises:
        PluginError: the builder fails, makes no optimizer, or one that leaves trainable parameters out, has others, or
            has some twice; the message begins with `label`.
    """
    trainable = [(name, parameter) for name, parameter in policy.named_parameters() if parameter.requires_grad]
    with asking(label, "could not be made"):
        optimizer: object = builder(trainable, lr)
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
