"""What can be refused before the first token is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from morl.errors import ConfigError, DataError
from morl.types import EncodedPrompt


def context_limit(config: Any) -> int | None:
    """Positions that a model of this Hugging Face config was built for; None where it has no limit (e.g. Mamba)."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


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
        raise ConfigError(
            f"the longest prompt ({longest_prompt} tokens) and max_tokens ({max_tokens}) make"
            f" {longest_prompt + max_tokens} positions, the model has {limit}: lower max_tokens to"
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
