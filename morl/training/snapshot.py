"""The last finished step, kept while the next one changes weights more than once."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from attrs import define, field
from torch import Tensor
from torch.distributed.tensor import DTensor


@define(eq=False)
class Snapshot:
    """Copies, in the memory of the host, of what an update changes: trainable weights and the optimizer's state.

    A run that is stopped between two optimizer steps of one rollout batch goes back to them, so that its checkpoint is
    that of a finished step.  Where a batch is one optimizer step, nothing needs to be kept.
    """

    _weights: list[tuple[Tensor, Tensor]] = field(factory=list, init=False)
    _state: dict[Tensor, dict[str, Any]] = field(factory=dict, init=False)
    _groups: list[dict[str, Any]] = field(factory=list, init=False)

    def take(self, weights: Iterable[Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Remembers what is there now."""
        self._weights = [(weight, _copy(weight)) for weight in weights if weight.requires_grad]
        self._state = {weight: {k: _copy(v) for k, v in state.items()} for weight, state in optimizer.state.items()}
        self._groups = [{k: _copy(v) for k, v in group.items() if k != "params"} for group in optimizer.param_groups]

    @torch.no_grad()
    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Puts it back."""
        for weight, before in self._weights:
            _local(weight).copy_(before)
        for weight, state in list(optimizer.state.items()):
            if weight not in self._state:  # it came with the first optimizer step of the run
                del optimizer.state[weight]
                continue
            for key, value in self._state[weight].items():
                if isinstance(value, Tensor):
                    _local(state[key]).copy_(value)
                else:
                    state[key] = value
        for group, settings in zip(optimizer.param_groups, self._groups, strict=True):
            group.update(settings)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _copy(value: Any) -> Any:
    return _local(value.detach()).to("cpu", copy=True) if isinstance(value, Tensor) else copy.deepcopy(value)
