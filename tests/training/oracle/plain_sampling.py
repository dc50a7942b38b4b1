"""Which tokens a run has to sample, written down a second time: numpy's streams and transformers' forward.

A completion is not drawn anew, for rounding may move a token that lies on an edge.  Each of its tokens is looked up:
the uniform that belongs to it has to fall between the cumulated probabilities before and after the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from plain_update import seed_of
from torch import Tensor, nn

ROUNDING = 1e-5
"""Of a cumulated probability in float32: 40 terms, and logits with an error of 1e-6."""


def prompt_row(seed: int, position: int, size: int) -> int:
    """Row of the prompt at this position of the endless, shuffled walk through `size` rows."""
    epoch, place = divmod(position, size)
    words = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(size)
    return int(np.argsort(words, kind="stable")[place])


def training_uniforms(seed: int, position: int, member: int, count: int) -> list[float]:
    """Of a completion of the prompt at `position`."""
    return _uniforms(seed_of(seed, 0, position), member, count)


def evaluation_uniforms(seed: int, row: int, member: int, count: int) -> list[float]:
    """Of a completion of the held-out prompt `row`: the same in every evaluation."""
    return _uniforms(seed_of(seed, 1, row), member, count)


def _uniforms(key: int, member: int, count: int) -> list[float]:
    stream = np.random.Generator(np.random.Philox(key=np.array([key, member], dtype=np.uint64)))
    return [float(number) for number in stream.random(count, dtype=np.float32)]


def misses(
    model: nn.Module,
    prompt: Sequence[int],
    ids: Sequence[int],
    uniforms: Sequence[float],
    *,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
) -> list[float]:
    """How far each uniform lies outside the interval of the token that was drawn with it; 0 within it."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    found = []
    for logits_V, token, uniform in zip(logits.double(), ids, uniforms, strict=True):
        if temperature == 0:
            found.append(float(logits_V.max() - logits_V[token]))
            continue
        order, probabilities = _candidates((logits_V / temperature).softmax(-1), top_k, top_p)
        if token not in order:
            return [1.0]
        after = probabilities.cumsum(0) / probabilities.sum()
        place = order.index(token)
        before = float(after[place - 1]) if place else 0.0
        found.append(max(before - uniform, uniform - float(after[place]), 0.0))
    return found


def _candidates(probabilities_V: Tensor, top_k: int, top_p: float) -> tuple[list[int], Tensor]:
    """Tokens that may be drawn and their probabilities, in the order in which they are cumulated."""
    if not top_k and top_p == 1.0:
        return list(range(len(probabilities_V))), probabilities_V
    probabilities, order = probabilities_V.sort(descending=True)
    if top_k:
        probabilities, order = probabilities[:top_k], order[:top_k]
    kept = probabilities.cumsum(0) - probabilities < top_p * probabilities.sum()
    return order[kept].tolist(), probabilities[kept]


def ends_well(tokenizer: Any, ids: Sequence[int], stop: Sequence[str], max_tokens: int) -> bool:
    """Whether a completion ended with its first end: an end-of-sequence token, a stop string, or the token limit."""

    def ended(part: Sequence[int]) -> bool:
        text = tokenizer.decode(part, skip_special_tokens=True)
        return tokenizer.eos_token_id in part or any(each in text for each in stop)

    return not any(ended(ids[:n]) for n in range(1, len(ids))) and (ended(ids) or len(ids) == max_tokens)
