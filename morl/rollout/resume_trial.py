"""Whether turns can go on from kept keys and values, asked of the model itself before the first conversation.

A toy conversation of two turns, with a row that ends early in the first and answers of unequal length, is compared with
the model's own forward pass of each context alone.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from morl.policy.attention import ATTENTION
from morl.policy.model import PolicyModel
from morl.policy.probe import LOOSE
from morl.rollout.packed import PackedDecoder
from morl.rollout.remains import KnownContexts
from morl.rollout.resumed import ResumedDecoder
from morl.rollout.trial import alone, attention, evaluating, toy_rows, trial_model

_log = logging.getLogger(__name__)

_SAID, _ENDS = (1, 3, 3, 3), (5, 5, 4, 4)
"""Of each row: tokens of its first turn, and where the context of the second ends; a token behind that is sampled."""
_PREFILL = 1024


def can_resume(policy: PolicyModel) -> bool:
    """Whether a policy that is decoded packed can go on from what was computed; if not, a warning says why."""
    fault = resuming_fault(trial_model(policy), policy.own_attention)
    if fault is not None:
        _log.warning("every turn of a conversation computes its context again, which is slower: %s", fault)
    return fault is None


@torch.no_grad()
def resuming_fault(model: Any, own_attention: str) -> str | None:
    """Why turns of a float32 model must not be resumed, or None; the model is left as it was."""
    try:
        with evaluating(model):
            rows, tokens_BS = next(toy_rows(model, equal=False))
            contexts = [(*row, *ids[:end]) for row, ids, end in zip(rows, tokens_BS.tolist(), _ENDS, strict=True)]
            last_BS = tokens_BS[:, max(_ENDS) : max(_ENDS) + 1]
            with attention(model, own_attention):
                expected = [alone(model, context, last) for context, last in zip(contexts, last_BS, strict=True)]
            with attention(model, ATTENTION):
                got = _resumed(model, rows, tokens_BS, contexts, last_BS)
    except Exception as error:  # noqa: BLE001 - any model code may run here
        return f"{type(error).__name__}: {error}"
    # Of a NaN the comparison says that it is not within the tolerance.
    difference = float(torch.stack([(a - b).abs().max() for a, b in zip(got, expected, strict=True)]).max())
    if difference <= LOOSE:
        return None
    return f"log-probabilities differ by {difference:.1e} from those of a context alone (tolerance {LOOSE:g})"


def _resumed(
    model: Any, rows: list[tuple[int, ...]], tokens_BS: Tensor, contexts: list[tuple[int, ...]], last_BS: Tensor
) -> list[Tensor]:
    """Log-probabilities (steps + 1, V) of each row after its context, and after each token behind it."""
    first = PackedDecoder(model, rows, 8, _PREFILL, keeping=True)
    first.prefill()
    live = torch.arange(len(rows), device=tokens_BS.device)
    for step in range(max(_SAID)):
        if step == min(_SAID):  # the first row ends, and the last one takes its place
            order = torch.tensor([len(live) - 1, *range(1, len(live) - 1)], device=live.device)
            first.keep(order)
            live = live[order]
        first.step(tokens_BS[live, step])
    known = KnownContexts(0)
    read = [(*row, *ids[:said]) for row, ids, said in zip(rows, tokens_BS.tolist(), _SAID, strict=True)]
    known.add(first.remains(), read)
    starts = [start for context in contexts if (start := known.take(context)) is not None]
    assert [start.ids for start in starts] == read
    second = ResumedDecoder(model, contexts, 2, _PREFILL, keeping=True, known=starts)
    steps = [second.prefill(), second.step(last_BS[:, 0])]
    return [*torch.stack(steps, 1).float().log_softmax(-1)]
