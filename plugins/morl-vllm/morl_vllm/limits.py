"""What is refused before an engine is asked, wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from morl.errors import ConfigError
from morl.rollout.context import check_context, check_prompts
from morl.types import EncodedPrompt


def check_lengths(
    prompts: Sequence[EncodedPrompt], max_tokens: int, config: Any, max_model_len: int, *, otherwise: str
) -> None:
    """Refuses prompts and completions that do not fit into the context of model or engine.

    Args:
        prompts: at least one.
        max_tokens: longest completion in tokens.
        config: the policy's Hugging Face config.
        max_model_len: longest prompt and completion together that the engine can take, in tokens.
        otherwise: how to get an engine that can take longer ones.

    Raises:
        ConfigError: prompt and completion may exceed the context of the model or of the engine.
        DataError: a prompt without tokens.
    """
    longest = max(len(prompt.token_ids) for prompt in prompts)
    check_prompts(prompts)
    check_context(config, longest, max_tokens)
    if longest + max_tokens > max_model_len:
        raise ConfigError(
            f"the longest prompt ({longest} tokens) and max_tokens ({max_tokens}) do not fit into the engine's"
            f" {max_model_len} positions: {otherwise}"
        )
