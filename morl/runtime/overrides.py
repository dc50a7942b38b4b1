"""Settings of sampling that rows of the prompts bring (`sampling.overrides_column`), checked before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from morl.config.schema import Config
from morl.errors import ConfigError, DataError, suggest
from morl.hookspecs import RolloutBackend
from morl.rollout.constraint import constraint_of
from morl.rollout.ends import check_stops
from morl.sampling import CONSTRAINTS
from morl.types import Prompt, Sampling

OPTIONAL = ("stop_token_ids", "min_p", "repetition_penalty", *CONSTRAINTS)
"""Settings that not every backend knows."""


def check_overrides(
    rows: Mapping[str, Sequence[Prompt]],
    config: Config,
    backend: RolloutBackend,
    tokenizer: PreTrainedTokenizerBase,
    hf_config: PretrainedConfig,
    generation_config: GenerationConfig,
) -> None:
    """Refuses settings that a row cannot have, and a constraint that the tokenizer cannot be held to.

    Args:
        rows: prompts by the path of their section; held-out ones need not have the column.
        config: of the run.
        backend: that samples.
        tokenizer: of the policy.
        hf_config: of the policy.
        generation_config: of the policy.

    Raises:
        ConfigError: no prompt of training has the column; a constraint of all that cannot be compiled.
        DataError: names the row, and what is wrong with it.
    """
    if config.sampling.overrides_column is None:
        constraint_of(config.sampling, tokenizer, generation_config)
        return
    for path, prompts in rows.items():
        first: dict[Sampling, int] = {}
        held_out, given = path.startswith("evaluation"), False
        for row, prompt in enumerate(prompts):
            given |= prompt.columns.get(config.sampling.overrides_column) is not None
            try:
                first.setdefault(config.sampling.of(prompt.columns), row)
            except ConfigError as error:
                raise DataError(f"{path}: row {row}: {error}") from error
        if not given and not held_out:
            _refuse_absent(config.sampling.overrides_column, path, prompts)
        for sampling, row in first.items():
            try:
                check_known(sampling, backend, config.rollout.name)
                check_stops(tokenizer, sampling, hf_config.get_text_config().vocab_size)
                constraint_of(sampling, tokenizer, generation_config)
                _check_greedy(sampling, config, held_out=held_out)
            except ConfigError as error:
                raise DataError(f"{path}: row {row}: {config.sampling.overrides_column}: {error}") from error


def check_known(sampling: Sampling, backend: RolloutBackend, name: str) -> None:
    """Refuses what the backend `name` would not draw by.

    Raises:
        ConfigError: names the setting.
    """
    check: Any = getattr(backend, "check_sampling", None)
    if check is not None:
        check(sampling)
    known, default = frozenset(getattr(backend, "sampling_options", ())), Sampling()
    for setting in OPTIONAL:
        if getattr(sampling, setting) != getattr(default, setting) and setting not in known:
            raise ConfigError(f"sampling.{setting} has no effect: the backend {name} does not know it; leave it out")


def _refuse_absent(column: str, path: str, prompts: Sequence[Prompt]) -> None:
    columns = list(dict.fromkeys(name for prompt in prompts for name in prompt.columns))
    raise ConfigError(
        f"sampling.overrides_column: no row of {path} has anything in the column {column!r}{suggest(column, columns)};"
        f" columns: {', '.join(columns) or 'none'}"
    )


def _check_greedy(sampling: Sampling, config: Config, *, held_out: bool) -> None:
    if sampling.temperature > 0 or (held_out and config.evaluation and config.evaluation.temperature is not None):
        return
    samples = config.evaluation.samples if held_out and config.evaluation else config.training.group_size
    if samples > 1:
        raise ConfigError(f"temperature 0 makes all {samples} completions of the prompt the same; give it one above 0")
