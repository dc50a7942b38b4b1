"""Shared-prompt attention by padding segments of similar size to rectangles: any device, sliding windows, softcaps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, field
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from morl.policy.segments import Segment

_OVERHEAD = 0.02  # a further bucket must save this share of all scores: its kernels are launched in every layer


@define(eq=False)
class Bucket:
    """Segments whose queries, and whose keys of prompt and own tokens, are gathered into one rectangle.

    Attributes:
        queries_RQ: flat token of each query; where a segment is shorter, its last token again.
        keys_RS: flat token of each key, prompt then own; anything where `key_positions_RS` is negative.
        query_positions_RQ: positions within prompt + completion.
        key_positions_RS: likewise; negative where there is no key.
        slots: of the flattened R x Q outputs, those that are not padding.
    """

    queries_RQ: Tensor
    keys_RS: Tensor
    query_positions_RQ: Tensor
    key_positions_RS: Tensor
    slots: Tensor
    _masks: dict[int | None, Tensor] = field(factory=dict, init=False)

    @classmethod
    def of(cls, segments: Sequence[Segment], device: torch.device) -> Bucket:
        """The rectangle around these segments."""

        def column(name: str) -> Tensor:
            return torch.tensor([getattr(s, name) for s in segments], device=device).unsqueeze(1)

        start, length, prompt_start, prompt_length = map(column, ("start", "length", "prompt_start", "prompt_length"))
        own_Q = torch.arange(int(length.max()), device=device)
        prompt_S = torch.arange(int(prompt_length.max()), device=device)
        real_RQ = own_Q < length
        own_RQ = torch.minimum(own_Q, length - 1)
        key_positions = [
            torch.where(prompt_S < prompt_length, prompt_S, -1),
            torch.where(real_RQ, prompt_length + own_RQ, -1),
        ]
        return cls(
            queries_RQ=start + own_RQ,
            keys_RS=torch.cat(
                [prompt_start + torch.minimum(prompt_S, (prompt_length - 1).clamp(min=0)), start + own_RQ], 1
            ),
            query_positions_RQ=prompt_length + own_RQ,
            key_positions_RS=torch.cat(key_positions, 1),
            slots=real_RQ.flatten().nonzero().squeeze(1),
        )

    def mask(self, window: int | None) -> Tensor:
        """(R, 1, Q, S), True where the query sees the key; made once for all layers."""
        if window not in self._masks:
            query, key = self.query_positions_RQ.unsqueeze(-1), self.key_positions_RS.unsqueeze(-2)
            visible = (key >= 0) & (key <= query)
            if window is not None:
                visible &= key > query - window
            self._masks[window] = visible.unsqueeze(1)
        return self._masks[window]

    def attend(
        self,
        query_NHD: Tensor,
        key_NHD: Tensor,
        value_NHD: Tensor,
        *,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """Outputs (n, H, D) of the bucket's n tokens, in the order of `slots`."""

        def gather(flat: Tensor, where: Tensor) -> Tensor:
            return flat.index_select(0, where.flatten()).view(*where.shape, *flat.shape[1:]).transpose(1, 2)

        query = gather(query_NHD, self.queries_RQ)
        key, value = gather(key_NHD, self.keys_RS), gather(value_NHD, self.keys_RS)
        repeats = query.shape[1] // key.shape[1]
        if repeats > 1:  # with a mask, enable_gqa keeps SDPA from its fast kernels
            key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        mask = self.mask(window)
        if softcap is None:
            out = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        else:
            scores = torch.tanh(query @ key.transpose(-1, -2) * (scale / softcap)) * softcap
            probs = scores.masked_fill(~mask, float("-inf")).softmax(-1, dtype=torch.float32)
            out = probs.to(value.dtype) @ value
        return out.transpose(1, 2).flatten(0, 1).index_select(0, self.slots)


def make_buckets(segments: Sequence[Segment], device: torch.device) -> tuple[list[Bucket], Tensor]:
    """Buckets, and for each flat token its row in their concatenated outputs."""
    buckets = [Bucket.of(members, device) for members in split_by_size(segments)]
    tokens = torch.cat([bucket.queries_RQ.flatten()[bucket.slots] for bucket in buckets])
    return buckets, torch.argsort(tokens)


def split_by_size(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Few groups of similar sizes: least padded scores plus `_OVERHEAD` per group, by dynamic programming.

    Prompts, which see nothing but themselves, are sorted before the completions.
    """
    ordered = sorted(segments, key=lambda s: (s.prompt_length > 0, s.length, s.prompt_length))
    total = sum(s.length * (s.prompt_length + s.length) for s in ordered)
    best = [0.0] + [float("inf")] * len(ordered)
    cut = [0] * (len(ordered) + 1)
    for end in range(1, len(ordered) + 1):
        longest = prompt = 0
        for start in range(end - 1, -1, -1):
            longest = max(longest, ordered[start].length)
            prompt = max(prompt, ordered[start].prompt_length)
            cost = best[start] + (end - start) * longest * (prompt + longest) + _OVERHEAD * total
            if cost < best[end]:
                best[end], cut[end] = cost, start
    groups, end = [], len(ordered)
    while end:
        groups.append(ordered[cut[end] : end])
        end = cut[end]
    return groups[::-1]
