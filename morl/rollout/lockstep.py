"""Decoding models whose cache can neither be padded nor lose rows: all rows stay until the last has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import define, field
from torch import Tensor

from morl.rollout.padded import PaddedDecoder


@define(eq=False)
class LockstepDecoder:
    """A `morl.rollout.loop.Decoder` for models whose state takes in every token, that of padding too.

    Args:
        model: the Hugging Face model, or a peft model around it.
        prompts: token ids of each row's prompt, all of one length.
    """

    model: Any
    prompts: Sequence[tuple[int, ...]]
    _decoder: PaddedDecoder = field(init=False)
    _live: Tensor = field(init=False)

    def prefill(self) -> Tensor:
        """See `Decoder`."""
        assert len({len(prompt) for prompt in self.prompts}) == 1, "rows of one length are decoded in lockstep"
        self._decoder = PaddedDecoder(self.model, self.prompts)
        logits_NV = self._decoder.prefill()
        self._live = torch.arange(len(self.prompts), device=logits_NV.device)
        return logits_NV

    def step(self, tokens_N: Tensor) -> Tensor:
        """See `Decoder`; rows that have ended read a token that nobody asks about."""
        tokens = tokens_N.new_zeros(len(self.prompts))
        tokens[self._live] = tokens_N
        return self._decoder.step(tokens)[self._live]

    def keep(self, order: Tensor) -> None:
        """See `Decoder`."""
        self._live = self._live[order]
