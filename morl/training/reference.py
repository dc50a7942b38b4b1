"""The reference policy, which a KL penalty pulls to: the policy as it was when training began, or later."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from morl.config.schema import ReferenceConfig
from morl.policy.model import PolicyModel
from morl.training.sharding import gather_anew, shard

T = TypeVar("T")


class Reference:
    """The initial policy: a copy of it, or with LoRA the policy itself with its adapters switched off.

    It is not trained.  While it is as it began, checkpoints leave it out, for it can be made again.

    Args:
        policy: before its first update.
        lora: whether `policy` trains adapters only.
        options: the section `reference` of the config.
    """

    def __init__(self, policy: PolicyModel, *, lora: bool, options: ReferenceConfig) -> None:
        self._options, self._lora, self._moved = options, lora, False
        self._policy = policy if lora else copy.deepcopy(policy).requires_grad_(False).eval()
        if options.dtype is not None:
            # Of the parameters alone: in bfloat16 a table of positions would be wrong.
            for parameter in self._policy.parameters():
                parameter.data = parameter.data.to(getattr(torch, options.dtype))

    def to(self, device: torch.device) -> None:
        """Moves the copy; the policy itself is moved by the strategy."""
        if not self._lora:
            self._policy.to(device)

    def shard(self, device_type: str) -> None:
        """Leaves a piece of the copy on every rank; every rank must call."""
        if not self._lora:
            shard(self._policy, device_type)

    def apply(self, of: Callable[[PolicyModel], T]) -> T:
        """What `of` makes of the reference policy."""
        if not self._lora:
            return of(self._policy)
        with self._policy.model.disable_adapter():  # type: ignore[operator]
            result = of(self._policy)
            gather_anew(self._policy)
            return result

    @torch.no_grad()
    def finish_step(self, step: int, policy: PolicyModel) -> None:
        """Moves the reference towards the policy where it is due after `step` finished steps."""
        if not self._options.sync_every or step % self._options.sync_every:
            return
        self._moved, mixup = True, self._options.mixup
        for mine, theirs in zip(self._policy.parameters(), policy.parameters(), strict=True):
            mine.copy_(theirs if mixup == 1 else torch.lerp(mine, theirs.to(mine.dtype), mixup))

    def state(self) -> dict[str, Tensor] | None:
        """What a checkpoint has to hold; None while it is the initial policy."""
        return {name: weight.clone() for name, weight in self._policy.named_parameters()} if self._moved else None

    @torch.no_grad()
    def load(self, state: dict[str, Any] | None) -> None:
        """Continues from a checkpoint."""
        if state is not None:
            self._moved = True
            for name, weight in self._policy.named_parameters():
                weight.copy_(state[name])
