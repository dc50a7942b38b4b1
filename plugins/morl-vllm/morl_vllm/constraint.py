"""Structured output in the engine: morl's own masks, put in after the engine has taken its log-probabilities.

vLLM's own structured output writes the masks into the logits before it takes log-probabilities from them, so these
would be of another distribution than those of training.  A logits processor of ours comes after that, and allows the
very tokens that the backend `transformers` allows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from attrs import define, field
from torch import Tensor
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from morl.rollout.constraint import AllowedTokens, Constraint

KEY = "morl_constraint"
"""Of `SamplingParams.extra_args`."""

_known: dict[str, tuple[Constraint, frozenset[int]]] = {}
"""What requests name; the engine is in the process of whoever asks."""


def announce(constraint: Constraint, ends: frozenset[int]) -> dict[str, str]:
    """The `extra_args` of requests whose completions follow this.

    Args:
        constraint: compiled for the policy's tokenizer.
        ends: tokens that end a completion.
    """
    name = hashlib.sha256(repr((constraint.sampling, sorted(ends))).encode()).hexdigest()
    _known[name] = (constraint, ends)
    return {KEY: name}


class ConstrainedTokens(AdapterLogitsProcessor):  # type: ignore[misc]
    """Allows each row what its constraint allows."""

    def is_argmax_invariant(self) -> bool:
        """Greedy decoding is held to a constraint, too."""
        return False

    def new_req_logits_processor(self, params: Any) -> Callable[[list[int], Tensor], Tensor] | None:
        """See vLLM."""
        name = (params.extra_args or {}).get(KEY)
        if name is None:
            return None
        constraint, ends = _known[name]
        return _Row(constraint.begin(1), ends)


@define(eq=False)
class _Row:
    """One completion."""

    _allowed: AllowedTokens
    _ends: frozenset[int]
    _seen: int = field(default=0, init=False)

    def __call__(self, drawn: list[int], logits_V: Tensor) -> Tensor:
        new = drawn[self._seen :]
        if drawn and drawn[-1] in self._ends:
            return logits_V  # what is computed past the end is thrown away
        for token in new:
            self._allowed.add(torch.tensor([token]))
        self._seen = len(drawn)
        (allowed_V,) = self._allowed.next(len(logits_V), logits_V.device)
        return logits_V.masked_fill(~allowed_V, -torch.inf)
