"""Tokenizer and prompts of a model, read before its weights: the cheap and telling first."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

from transformers import AutoConfig, GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from morl.config.schema import Config, HeldOutPromptsConfig
from morl.errors import ConfigError, DataError
from morl.policy.load import load_tokenizer
from morl.policy.options import PLAIN, Loading
from morl.prompts import EncodedPrompts, encode_prompts
from morl.rollout.context import context_limit, rope_limit
from morl.rollout.ends import check_stops, end_tokens
from morl.rollout.generation_config import report_unused
from morl.rollout.visible import readable_tokenizer, warn_of_hidden
from morl.runtime.templates import chat_template
from morl.types import Prompt, Sampling


def load_description(
    path: str,
    loading: Loading = PLAIN,
) -> tuple[PreTrainedTokenizerBase, PretrainedConfig]:
    """Tokenizer and Hugging Face config of a model folder or hub name.

    Raises:
        DataError: there is no tokenizer.
    """
    return load_tokenizer(path, loading), load_config(path, loading)


def load_config(path: str, loading: Loading) -> PretrainedConfig:
    """The Hugging Face config of a model.

    Raises:
        DataError: there is none, or it needs code that is not trusted.
    """
    try:
        found: PretrainedConfig = AutoConfig.from_pretrained(path, **loading.of_files(path))
    except (OSError, ValueError) as error:
        hint = "" if loading.trust_remote_code else " (policy.trust_remote_code lets the model's own code run)"
        raise DataError(f"no config could be loaded from {path!r}: {error}{hint}") from error
    return found


def prompt_limit(hf_config: PretrainedConfig, sampling: Sampling) -> int | None:
    """Tokens that a prompt may have beside the longest completion; None where the model has no limit.

    Raises:
        ConfigError: the longest completion alone is longer than the model's context.
    """
    limit = context_limit(hf_config)
    if limit is None:
        return None
    if sampling.max_tokens >= limit:
        why = " whose rotary embeddings do not change with the length" if limit == rope_limit(hf_config) else ""
        raise ConfigError(
            f"sampling.max_tokens={sampling.max_tokens} leaves no room for a prompt: the model has {limit} positions"
            f"{why}; lower it"
        )
    return limit - sampling.max_tokens


def sampling_tokenizer(
    config: Config,
    tokenizer: PreTrainedTokenizerBase,
    hf_config: PretrainedConfig,
    generation_config: GenerationConfig,
    prompts: Iterable[Sequence[Prompt]],
) -> PreTrainedTokenizerBase:
    """What the run decodes completions with: the model's tokenizer, or a copy that shows more special tokens.

    Also says what of the model's generation config is not used, and where data or rewards speak of hidden tokens.

    Args:
        prompts: training and held-out ones, with their columns.

    Raises:
        ConfigError: ends that no completion can have; special tokens that are none.
    """
    report_unused(generation_config, config.sampling)
    # A stop string of the config stays in the text, so a tag at which completions are to stop is not left out.
    ends = end_tokens(tokenizer, generation_config)
    shown: PreTrainedTokenizerBase = readable_tokenizer(tokenizer, config.rollout.keep_special_tokens, ends)
    check_stops(shown, config.sampling, hf_config.get_text_config().vocab_size)
    options = {name: section.options for name, section in config.rewards.items()}
    for rows in prompts:
        warn_of_hidden(shown, rows, options)
        options = {}
    return shown


def load_generation_config(
    path: str,
    hf_config: PretrainedConfig,
    loading: Loading = PLAIN,
) -> GenerationConfig:
    """The generation settings that `transformers` gives a model when it loads it."""
    try:
        return GenerationConfig.from_pretrained(path, **loading.of_files(path))
    except OSError:  # most small models have no file of them
        return GenerationConfig.from_model_config(hf_config)


def exported_tokenizer(tokenizer: PreTrainedTokenizerBase, section: HeldOutPromptsConfig) -> PreTrainedTokenizerBase:
    """The tokenizer that goes with the trained model: a copy with the config's chat template, if it has one."""
    source = chat_template(section, "prompts").source
    if source is None:
        return tokenizer
    exported = copy.deepcopy(tokenizer)
    exported.chat_template = source
    return exported


def encode_section(
    prompts: Sequence[Prompt],
    tokenizer: PreTrainedTokenizerBase,
    section: HeldOutPromptsConfig,
    path: str,
    hf_config: PretrainedConfig,
    limit: int | None,
) -> EncodedPrompts:
    """The prompts of the config's section `path`, none longer than it says nor than the model's `limit`.

    Raises:
        DataError: no prompt, or one that cannot be taken; with the section's path.
    """
    if not len(prompts):
        raise DataError(f"{path}: the source holds no prompt")
    limits = [tokens for tokens in (section.max_prompt_tokens, limit) if tokens is not None]
    try:
        return encode_prompts(
            prompts,
            tokenizer,
            max_tokens=min(limits, default=None),
            on_long=section.on_long,
            template=chat_template(section, path),
            vocabulary=hf_config.get_text_config().vocab_size,
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except DataError as error:
        hint = "" if limit is None else f" (beside sampling.max_tokens the model has room for {limit} prompt tokens)"
        raise DataError(f"{path}: {error}{hint}") from error
