"""The reference policy: the policy as it was when training began, which a KL penalty keeps the policy near."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from morl.policy.model import PolicyModel


class Reference:
    """The initial policy; a copy of it, or with LoRA the policy itself with its adapters switched off.

    It is neither trained, nor wrapped by a strategy, nor written into checkpoints: it can be made again.

    Args:
        policy: before its first update.
        lora: whether `policy` trains adapters only.
    """

    def __init__(self, policy: PolicyModel, *, lora: bool) -> None:
        self._policy = policy if lora else copy.deepcopy(policy).requires_grad_(False).eval()
        self._lora = lora

    def to(self, device: torch.device) -> None:
        """Moves the copy; the policy itself is moved by the strategy."""
        if not self._lora:
            self._policy.to(device)

    def logprobs(self, of: Callable[[PolicyModel], Tensor]) -> Tensor:
        """What `of` makes of the reference policy."""
        if not self._lora:
            return of(self._policy)
        with self._policy.model.disable_adapter():  # type: ignore[operator]
            return of(self._policy)
