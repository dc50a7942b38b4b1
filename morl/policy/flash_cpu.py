"""Shared-prompt attention out of torch's flash-attention kernel for CPUs, without padding, masks or repeated prompts.

Softmax attention over a union of keys is the mean of the attentions over its parts, weighted by their normalisers
(Milakov & Gimelshein, arXiv 1805.02867; Juravsky et al., arXiv 2402.05099):

    out = sum_i exp(lse_i - lse) out_i        lse = log sum_i exp(lse_i)

A completion's parts are its own tokens, causally, and its prompt.  The flash backward kernel needs only `out` and
`lse` of the whole softmax to compute a part's gradients (Dao et al., arXiv 2205.14135, algorithm 4), so each part's
backward is called with those of the union; the gradients of the queries add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from morl.policy.segments import Prefix, Run

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def flash_attention_cpu(
    query_NHD: Tensor, key_NHD: Tensor, value_NHD: Tensor, runs: Sequence[Run], prefixes: Sequence[Prefix], scale: float
) -> Tensor:
    """Attention output (N, H, D); keys and values may have fewer heads, of the same size as the queries'."""
    output: Tensor = _FlashCPU.apply(  # type: ignore[no-untyped-call]
        query_NHD, key_NHD, value_NHD, runs, prefixes, scale
    )
    return output


class _FlashCPU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        runs: Sequence[Run],
        prefixes: Sequence[Prefix],
        scale: float,
    ) -> Tensor:
        out = torch.empty(query.shape, dtype=query.dtype)
        lse = torch.empty(query.shape[:2], dtype=torch.promote_types(query.dtype, torch.float32))
        for run in runs:
            own, own_lse = _forward(run.split(query), run.split(key), run.split(value), 0.0, True, scale=scale)
            out[run.tokens] = own.transpose(1, 2).flatten(0, 1)
            lse[run.tokens] = own_lse.transpose(1, 2).flatten(0, 1)
        for prefix in prefixes:
            rows, columns = prefix.completions, prefix.prompt
            seen, seen_lse = _forward(_batch(query[rows]), _batch(key[columns]), _batch(value[columns]), scale=scale)
            seen, seen_lse = seen[0].transpose(0, 1), seen_lse[0].transpose(0, 1)
            own_lse = lse[rows]
            out[rows].lerp_(seen, torch.sigmoid(seen_lse - own_lse).unsqueeze(-1).to(out.dtype))
            lse[rows] = torch.logaddexp(own_lse, seen_lse)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.runs, ctx.prefixes, ctx.scale = runs, prefixes, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        grad = grads[0].contiguous()  # the kernel wants the last axis dense; a gradient may be an expanded scalar
        grad_query, grad_key, grad_value = (torch.empty(t.shape, dtype=t.dtype) for t in (query, key, value))
        for run in ctx.runs:
            parts = (run.split(t) for t in (grad, query, key, value, out))
            own = _backward(*parts, run.split(lse.unsqueeze(-1)).squeeze(-1), 0.0, True, scale=ctx.scale)
            for whole, part in zip((grad_query, grad_key, grad_value), own, strict=True):
                whole[run.tokens] = part.transpose(1, 2).flatten(0, 1)
        for prefix in ctx.prefixes:
            rows, columns = prefix.completions, prefix.prompt
            seen = _backward(
                *(_batch(t[rows]) for t in (grad, query)),
                *(_batch(t[columns]) for t in (key, value)),
                _batch(out[rows]),
                lse[rows].transpose(0, 1).unsqueeze(0),
                0.0,
                False,
                scale=ctx.scale,
            )
            for whole, part, where in zip(
                (grad_query, grad_key, grad_value), seen, (rows, columns, columns), strict=True
            ):
                whole[where] += part[0].transpose(0, 1)
        return grad_query, grad_key, grad_value, None, None, None


def _batch(piece_NHD: Tensor) -> Tensor:
    """(n, H, D) -> (1, H, n, D), a view."""
    return piece_NHD.transpose(0, 1).unsqueeze(0)
