"""The attention plan of a training batch: packed completions that share their prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, field
from torch import Tensor

from morl.policy.buckets import Bucket, make_buckets
from morl.policy.flash_cpu import flash_attention_cpu
from morl.policy.segments import Prefix, Run, Segment, prefixes, runs


@define(eq=False)
class SharedPromptAttention:
    """An `AttentionPlan`: each prompt is computed once, each completion sees its prompt and itself."""

    segments: Sequence[Segment]
    _runs: tuple[Run, ...] = field(init=False)
    _prefixes: tuple[Prefix, ...] = field(init=False)
    _longest: int = field(init=False)
    _buckets: dict[torch.device, tuple[list[Bucket], Tensor]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._runs = tuple(runs(self.segments))
        self._prefixes = tuple(prefixes(self.segments))
        self._longest = max(segment.prompt_length + segment.length for segment in self.segments)

    def attend(
        self,
        layer: int,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
        dropout: float,
    ) -> Tensor:
        assert dropout == 0.0, "PolicyModel turns dropout off"
        # Under autocast rotary embeddings leave queries and keys in float32.
        q_NHD, k_NHD, v_NHD = (states[0].transpose(0, 1).to(value.dtype) for states in (query, key, value))
        window = sliding_window if sliding_window is not None and sliding_window < self._longest else None
        plain = window is None and softcap is None and key.shape[-1] == value.shape[-1]
        if plain and query.device.type == "cpu":
            return flash_attention_cpu(q_NHD, k_NHD, v_NHD, self._runs, self._prefixes, scaling).unsqueeze(0)
        if query.device not in self._buckets:
            self._buckets[query.device] = make_buckets(self.segments, query.device)
        buckets, order = self._buckets[query.device]
        parts = [
            bucket.attend(q_NHD, k_NHD, v_NHD, scale=scaling, window=window, softcap=softcap) for bucket in buckets
        ]
        return torch.cat(parts).index_select(0, order).unsqueeze(0)
