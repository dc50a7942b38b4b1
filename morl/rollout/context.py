"""What can be refused before the first token is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from morl.errors import ConfigError, DataError
from morl.types import EncodedPrompt


def context_limit(config: Any) -> int | None:
    """Positions that a model of this Hugging Face config takes; None where it has no limit (e.g. Mamba).

    Those it was built for, or those up to which its rotary embeddings stay the same; see `rope_limit`.
    """
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    limits = [limit if isinstance(limit, int) and limit > 0 else None, rope_limit(config)]
    return min((limit for limit in limits if limit is not None), default=None)


def rope_limit(config: Any) -> int | None:
    """Positions up to which rotary embeddings do not depend on how long the longest sequence of a call is.

    Beyond, `longrope` (Ding et al., arXiv 2402.13753) takes its long factors and `dynamic` NTK another base, for all
    positions of all sequences of the call: a token's probability would depend on its neighbours in the batch, and a
    completion that grows beyond is sampled with keys of both kinds.  None where there is no such limit.
    """
    text = config.get_text_config()
    parameters = getattr(text, "rope_parameters", None) or {}
    by_layer_type = [value for value in parameters.values() if isinstance(value, Mapping)]
    limits = []
    for rope in by_layer_type or [parameters]:
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind == "longrope":
            limits.append(rope.get("original_max_position_embeddings") or text.original_max_position_embeddings)
        elif "dynamic" in kind:
            limits.append(text.max_position_embeddings)
    return min(limits, default=None)


def check_context(config: Any, longest_prompt: int, max_tokens: int) -> None:
    """Refuses prompts and completions that do not fit into the model together.

    Args:
        config: the policy's Hugging Face config.
        longest_prompt: in tokens.
        max_tokens: longest completion in tokens.

    Raises:
        ConfigError: their sum exceeds the positions of the model.
    """
    limit = context_limit(config)
    if limit is not None and longest_prompt + max_tokens > limit:
        why = ""
        if limit == rope_limit(config):
            why = " whose rotary embeddings do not change with the length of the batch"
        raise ConfigError(
            f"the longest prompt ({longest_prompt} tokens) and max_tokens ({max_tokens}) make"
            f" {longest_prompt + max_tokens} positions, the model has {limit}{why}: lower max_tokens to"
            f" {max(0, limit - longest_prompt)} or less, or shorten or drop the long prompts"
        )


def check_prompts(prompts: Sequence[EncodedPrompt]) -> None:
    """Refuses prompts without tokens: a causal model has nothing to continue there.

    Raises:
        DataError: names the row of the prompt in its source.
    """
    for prompt in prompts:
        if not prompt.token_ids:
            raise DataError(
                f"the prompt of row {prompt.index} has no tokens (text {prompt.text!r}); give it content, or use a"
                " tokenizer that adds a beginning-of-sequence token"
            )
