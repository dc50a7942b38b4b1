"""Decoding through the attention hook: no padding, prompts read once, one token per live row and step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, field
from torch import Tensor, nn

from morl.rollout.cache import GroupCache
from morl.rollout.prefill import PrefillPlan
from morl.rollout.remains import Remains


@define(eq=False)
class PackedDecoder:
    """A `morl.rollout.loop.Decoder` for models that take an attention plan.

    Args:
        model: the Hugging Face model, its attention set to `morl.policy.attention.ATTENTION`.
        prompts: token ids of each row's prompt; equal ones are read once.
        max_tokens: longest completion.
        prefill_tokens: prompt tokens of one forward call, at most, except that a prompt is never cut.
        keeping: whether `remains` is asked for.
    """

    model: nn.Module
    prompts: Sequence[tuple[int, ...]]
    max_tokens: int
    prefill_tokens: int
    keeping: bool = False
    _cache: GroupCache = field(init=False)
    _positions: Tensor = field(init=False)

    def prefill(self) -> Tensor:
        """See `Decoder`."""
        device = next(self.model.parameters()).device
        # By length, for the buckets of prefill; else in the order of the rows, so that they stand in slot order.
        distinct = sorted(dict.fromkeys(self.prompts), key=len)
        number = {ids: at for at, ids in enumerate(distinct)}
        prompt_of_N = torch.tensor([number[ids] for ids in self.prompts], device=device)
        lengths = [len(ids) for ids in distinct]
        self._positions = torch.tensor(lengths, device=device)[prompt_of_N]
        self._cache = GroupCache(lengths, prompt_of_N, self.max_tokens, keeping=self.keeping)
        logits_UV = []
        for first, last in _chunks(lengths, self.prefill_tokens):
            logits_UV.append(self._read(distinct[first:last], self._cache, first, last, device))
        return torch.cat(logits_UV)[prompt_of_N]

    def step(self, tokens_N: Tensor) -> Tensor:
        """See `Decoder`."""
        output = self.model(
            input_ids=tokens_N[None], position_ids=self._positions[None], use_cache=False, plan=self._cache
        )
        self._cache.steps += 1
        self._positions = self._positions + 1
        logits: Tensor = output.logits[0]
        return logits

    def keep(self, order: Tensor) -> None:
        """See `Decoder`."""
        self._positions = self._positions[order]
        self._cache.keep(order)

    def remains(self) -> Remains:
        """Keys and values of all rows, at the end."""
        return self._cache.remains()

    def _read(
        self, prompts: Sequence[tuple[int, ...]], cache: GroupCache, first: int, last: int, device: torch.device
    ) -> Tensor:
        lengths = [len(ids) for ids in prompts]
        output = self.model(
            input_ids=torch.tensor([[token for ids in prompts for token in ids]], device=device),
            position_ids=torch.cat([torch.arange(length, device=device) for length in lengths])[None],
            use_cache=False,
            plan=PrefillPlan(lengths, device, cache.store(first, last)),
            logits_to_keep=torch.tensor(lengths, device=device).cumsum(0) - 1,
        )
        logits: Tensor = output.logits[0]
        return logits


def _chunks(lengths: Sequence[int], limit: int) -> list[tuple[int, int]]:
    """Ranges of prompts whose tokens fit one prefill call together."""
    chunks, first, tokens = [], 0, 0
    for at, length in enumerate(lengths):
        if at > first and tokens + length > limit:
            chunks.append((first, at))
            first, tokens = at, 0
        tokens += length
    return [*chunks, (first, len(lengths))]
