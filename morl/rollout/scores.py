"""A detail of attention that prefill and decoding share."""

from __future__ import annotations

from torch import Tensor


def soft_capped(scores: Tensor, softcap: float | None) -> Tensor:
    """softcap * tanh(scores / softcap), as Gemma 2 limits its attention scores; in place."""
    return scores if not softcap else scores.div_(softcap).tanh_().mul_(softcap)
