"""Tokenizer and prompts of a model, read before its weights: the cheap and telling first."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from morl.config.schema import HeldOutPromptsConfig
from morl.errors import DataError
from morl.policy.load import load_tokenizer
from morl.prompts import EncodedPrompts, encode_prompts
from morl.rollout.context import check_context, context_limit
from morl.types import Prompt, Sampling


def load_description(path: str) -> tuple[PreTrainedTokenizerBase, PretrainedConfig]:
    """Tokenizer and Hugging Face config of a model folder or hub name.

    Raises:
        DataError: there is no tokenizer.
    """
    return load_tokenizer(path), AutoConfig.from_pretrained(path)


def prompt_limit(hf_config: PretrainedConfig, sampling: Sampling) -> int | None:
    """Tokens that a prompt may have beside the longest completion; None where the model has no limit.

    Raises:
        ConfigError: the longest completion alone is longer than the model's context.
    """
    check_context(hf_config, 1, sampling.max_tokens)
    limit = context_limit(hf_config)
    return None if limit is None else limit - sampling.max_tokens


def encode_section(
    prompts: Sequence[Prompt],
    tokenizer: PreTrainedTokenizerBase,
    section: HeldOutPromptsConfig,
    path: str,
    limit: int | None,
) -> EncodedPrompts:
    """The prompts of the config's section `path`, none longer than it says nor than the model's `limit`.

    Raises:
        DataError: no prompt, or one that cannot be taken; with the section's path.
    """
    if not len(prompts):
        raise DataError(f"{path}: the source holds no prompt")
    limits = [tokens for tokens in (section.max_tokens, limit) if tokens is not None]
    try:
        return encode_prompts(prompts, tokenizer, max_tokens=min(limits, default=None), on_long=section.on_long)
    except DataError as error:
        hint = "" if limit is None else f" (beside sampling.max_tokens the model has room for {limit} prompt tokens)"
        raise DataError(f"{path}: {error}{hint}") from error
