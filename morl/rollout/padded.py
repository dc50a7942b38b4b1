"""Decoding any causal model of `transformers` with the cache it brings: left-padded prompts, one row per completion.

For models without the attention hook, e.g. state-space models.  Slower than `morl.rollout.packed`, and as right.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from attrs import define, field
from torch import Tensor
from transformers import Cache

CACHE_NAMES = ("past_key_values", "cache_params")
"""Under these a model returns, and takes, its cache."""


@define(eq=False)
class PaddedDecoder:
    """A `morl.rollout.loop.Decoder` for every other model.

    Args:
        model: the Hugging Face model, or a peft model around it.
        prompts: token ids of each row's prompt.
    """

    model: Any
    prompts: Sequence[tuple[int, ...]]
    _ids: Tensor = field(init=False)
    _mask: Tensor = field(init=False)
    _takes_positions: bool = field(init=False)
    _cache: dict[str, Any] = field(init=False, factory=dict)

    def prefill(self) -> Tensor:
        """See `Decoder`."""
        device = next(self.model.parameters()).device
        longest = max(len(ids) for ids in self.prompts)
        pads = [longest - len(ids) for ids in self.prompts]
        rows = zip(pads, self.prompts, strict=True)
        self._ids = torch.tensor([[0] * pad + list(ids) for pad, ids in rows], device=device)
        self._mask = (torch.arange(longest, device=device) >= torch.tensor(pads, device=device)[:, None]).long()
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        self._takes_positions = "position_ids" in inspect.signature(base.forward).parameters
        return self._forward(self._ids, first=True)

    def step(self, tokens_N: Tensor) -> Tensor:
        """See `Decoder`."""
        self._ids = torch.cat([self._ids, tokens_N[:, None]], 1)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], 1)
        # A model that returned no cache reads everything again.
        return self._forward(self._ids[:, -1:] if self._cache else self._ids, first=not self._cache)

    def keep(self, order: Tensor) -> None:
        """See `Decoder`."""
        self._ids, self._mask = self._ids[order], self._mask[order]
        for name, cache in self._cache.items():
            assert isinstance(cache, Cache), f"{name} is a {type(cache).__name__}"
            cache.reorder_cache(order)  # type: ignore[arg-type]

    def _forward(self, ids: Tensor, *, first: bool) -> Tensor:
        inputs: dict[str, Any] = {"attention_mask": self._mask, "use_cache": True, **self._cache}
        if self._takes_positions:
            inputs["position_ids"] = (self._mask.cumsum(1) - 1).clamp_min_(0)[:, -ids.shape[1] :]
        # Models override this where they want their inputs otherwise, e.g. no mask beside a recurrent state.
        inputs = self.model.prepare_inputs_for_generation(ids, is_first_iteration=first, **inputs)
        output = self.model(**inputs)
        self._cache = {name: cache for name in CACHE_NAMES if (cache := getattr(output, name, None)) is not None}
        logits: Tensor = output.logits[:, -1]
        return logits
