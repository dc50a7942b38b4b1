"""Reading prompts: many on one flat token axis, causal within each, their keys and values kept for decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from attrs import define, field
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from morl.rollout.scores import soft_capped

Keep = Callable[[int, Tensor, Tensor], None]
"""Receives (layer, keys, values) of all tokens of the call, (N, H_kv, D)."""

WASTE = 0.8
"""Prompts attend in one bucket while the shortest has at least this share of the longest one's tokens."""


@define(eq=False)
class PrefillPlan:
    """Attention plan of a prefill call, see `morl.policy.attention.AttentionPlan`.

    Args:
        lengths: tokens of each prompt on the flat axis, in rising order, so that prompts of like length are neighbours.
        device: of the model.
        keep: where the keys and values go.
    """

    lengths: Sequence[int]
    device: torch.device
    keep: Keep
    _buckets: list[tuple[slice, Tensor | None, int]] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        first, begin = 0, 0
        while first < len(self.lengths):
            last = first
            while last < len(self.lengths) and self.lengths[first] >= WASTE * self.lengths[last]:
                last += 1
            lengths = torch.tensor(self.lengths[first:last], device=self.device)
            end = begin + int(lengths.sum())
            longest = self.lengths[last - 1]
            # A bucket of equal lengths is a plain view of the flat axis.
            mask = None
            if self.lengths[first] < longest:
                mask = torch.arange(longest, device=self.device) < lengths[:, None]
            self._buckets.append((slice(begin, end), mask, longest))
            first, begin = last, end

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
        """Causal attention of every prompt within itself."""
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        self.keep(layer, k, v)
        outputs = []
        for tokens, mask, longest in self._buckets:
            padded = (_padded(x[tokens], mask, longest) for x in (q, k, v))
            output = _causal(*padded, scaling=scaling, window=sliding_window, softcap=softcap).transpose(1, 2)
            outputs.append(output.flatten(0, 1) if mask is None else output[mask])
        return torch.cat(outputs)[None]


def _padded(x_NHD: Tensor, mask_PL: Tensor | None, longest: int) -> Tensor:
    """(P, H, L, D), right-padded: causal attention never looks at what follows."""
    if mask_PL is None:
        return x_NHD.reshape(-1, longest, *x_NHD.shape[1:]).transpose(1, 2)
    x_PLHD = x_NHD.new_zeros(*mask_PL.shape, *x_NHD.shape[1:])
    x_PLHD[mask_PL] = x_NHD
    return x_PLHD.transpose(1, 2)


def _causal(q: Tensor, k: Tensor, v: Tensor, *, scaling: float, window: int | None, softcap: float | None) -> Tensor:
    """(P, H, L, D), from queries (P, H, L, D) and keys and values (P, H_kv, L, D)."""
    H, H_kv, L = q.shape[1], k.shape[1], q.shape[2]
    if window is not None and window >= L:
        window = None
    if window is None and not softcap:
        return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=H != H_kv)
    position = torch.arange(L, device=q.device)
    distance = position[:, None] - position
    visible = distance >= 0 if window is None else (distance >= 0) & (distance < window)
    if not softcap:
        return scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=scaling, enable_gqa=H != H_kv)
    k, v = (x.repeat_interleave(H // H_kv, 1) for x in (k, v))
    scores = soft_capped(q * scaling @ k.transpose(2, 3), softcap).masked_fill(~visible, -torch.inf)
    return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
