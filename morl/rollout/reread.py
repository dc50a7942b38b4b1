"""Decoding models whose steps are not what their forward pass says: everything is read again for each token."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from attrs import define, field
from torch import Tensor
from torch.nn.functional import pad


@define(eq=False)
class RereadDecoder:
    """A `morl.rollout.loop.Decoder` for any causal model: it keeps nothing between the steps.

    Rows are padded at the right, as in training, where nothing that follows a token can change it.  The time grows with
    the square of the length.

    Args:
        model: the Hugging Face model, or a peft model around it.
        prompts: token ids of each row's prompt.
    """

    model: Any
    prompts: Sequence[tuple[int, ...]]
    _ids_NS: Tensor = field(init=False)
    _lengths_N: Tensor = field(init=False)
    _chooses_logits: bool = field(init=False)

    def prefill(self) -> Tensor:
        """See `Decoder`."""
        device = next(self.model.parameters()).device
        longest = max(map(len, self.prompts))
        self._ids_NS = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in self.prompts], device=device)
        self._lengths_N = torch.tensor([len(ids) for ids in self.prompts], device=device)
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        self._chooses_logits = "logits_to_keep" in inspect.signature(base.forward).parameters
        return self._forward()

    def step(self, tokens_N: Tensor) -> Tensor:
        """See `Decoder`."""
        longest = int(self._lengths_N.max()) + 1
        self._ids_NS = pad(self._ids_NS[:, :longest], (0, max(0, longest - self._ids_NS.shape[1])))
        self._ids_NS.scatter_(1, self._lengths_N[:, None], tokens_N[:, None])
        self._lengths_N = self._lengths_N + 1
        return self._forward()

    def keep(self, order: Tensor) -> None:
        """See `Decoder`."""
        self._ids_NS, self._lengths_N = self._ids_NS[order], self._lengths_N[order]

    def _forward(self) -> Tensor:
        columns, place_N = torch.unique(self._lengths_N - 1, return_inverse=True)
        if self._chooses_logits:
            logits = self.model(input_ids=self._ids_NS, use_cache=False, logits_to_keep=columns).logits
        else:
            logits = self.model(input_ids=self._ids_NS, use_cache=False).logits[:, columns]
        chosen: Tensor = logits[torch.arange(len(place_N), device=place_N.device), place_N]
        return chosen
