"""One attention function for every Hugging Face causal LM: the model computes, a plan decides who sees whom.

`transformers` looks its attention function up by name and hands on keyword arguments that it does not know.  morl
registers one function under the name `morl`; the `plan` that travels with a forward call does the work.  The models
build no mask and keep no cache of their own, so the same unmodified model code serves packed training (prompts once,
completions without padding), shared-prefix prefill and decoding with a preallocated cache.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn
from transformers import AttentionInterface

from morl.errors import ConfigError

ATTENTION = "morl"

_WITHOUT_EFFECT = frozenset({"position_ids", "cache_position"})
"""Tensors that models hand to every attention function and that no score depends on."""


class AttentionPlan(Protocol):
    """Who sees whom in one forward call; made anew for each batch, shared by all layers."""

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
        """Attention output (1, N, H, D) for queries (1, H, N, D) and keys, values (1, H_kv, N, D) of layer `layer`.

        N is the flat token axis of this call.  `H` may be a multiple of `H_kv` (grouped queries).
        """
        ...


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    plan: AttentionPlan | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    assert plan is not None, "the policy was called without a plan; use morl.policy.PolicyModel"
    unknown = [name for name, value in others.items() if isinstance(value, Tensor) and name not in _WITHOUT_EFFECT]
    if unknown or attention_mask is not None:
        # Sinks, biases, masks of the model's own: without them the model would be another one.
        raise ConfigError(
            f"the attention of {type(module).__name__} takes {', '.join([*unknown, *_mask(attention_mask)])} into"
            " account, which packed attention does not know"
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer = module.layer_idx
    assert isinstance(layer, int)
    output = plan.attend(
        layer, query, key, value, scaling=scaling, sliding_window=sliding_window, softcap=softcap, dropout=dropout
    )
    return output, None


def _mask(attention_mask: Tensor | None) -> list[str]:
    return [] if attention_mask is None else ["a mask of its own"]


AttentionInterface.register(ATTENTION, _attention)
