"""What a checkpoint leaves out because it can be had from elsewhere, or is not wanted."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from morl.errors import ConfigError
from morl.policy.codes import scales_of

_FROZEN = "morl_frozen_weights"


def leave_out(checkpoint: dict[str, Any], module: L.LightningModule, keep: str) -> None:
    """Takes out the frozen base of adapters, noting what it was, and the optimizer's state where it is not to be kept.

    The base of a sharded policy stays: PyTorch reads a sharded checkpoint only as a whole.
    """
    frozen = _frozen(module)
    if frozen:
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in frozen}
        checkpoint[_FROZEN] = _fingerprint(frozen.values())
    if keep == "weights":
        checkpoint["optimizer_states"] = []


def put_back(checkpoint: dict[str, Any], module: L.LightningModule) -> None:
    """Makes a checkpoint whole again from the policy that was loaded.

    Raises:
        ConfigError: the frozen weights are not those that the adapters were trained on.
    """
    put_back_frozen(checkpoint, module)
    if checkpoint.get("optimizer_states") == []:
        warnings.warn(
            "the checkpoint holds no state of the optimizer (training.keep: weights), which begins anew: the run goes"
            " on from these weights, but not bit for bit",
            stacklevel=2,
        )


def put_back_frozen(checkpoint: dict[str, Any], module: nn.Module) -> None:
    """The part of `put_back` that is about weights.

    Raises:
        ConfigError: the frozen weights are not those that the adapters were trained on.
    """
    frozen = _frozen(module)
    if (expected := checkpoint.get(_FROZEN)) is not None:
        if _fingerprint(frozen.values()) != expected:
            raise ConfigError(
                "the model that policy.path names is not the one that the adapters of this checkpoint were trained on;"
                " its weights have changed since, so give the path or revision of the model that the run began with"
            )
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **frozen}


def _frozen(module: nn.Module) -> dict[str, Tensor]:
    """Weights of the policy that are not trained, by name; none of a sharded policy."""
    weights: dict[str, Tensor] = {
        name: weight for name, weight in module.named_parameters(remove_duplicate=False) if not weight.requires_grad
    }
    return {} if any(isinstance(weight, DTensor) for weight in weights.values()) else weights


def _fingerprint(weights: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for weight in weights:
        for part in (weight, *scales_of(weight)):
            digest.update(part.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
