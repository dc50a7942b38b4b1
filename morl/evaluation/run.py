"""One evaluation, from a config and a model to figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import lightning.pytorch as L
from attrs import frozen

from morl import interrupts, progress
from morl.config.schema import Config, TrainerConfig
from morl.errors import ConfigError, DataError, suggest
from morl.evaluation.arguments import Measures
from morl.evaluation.figures import Figures, figures
from morl.evaluation.model import near_folders, ready_model
from morl.evaluation.module import EvaluationModule
from morl.evaluation.resolve import resolve
from morl.plugins import Registry
from morl.policy.load import load_policy
from morl.prompts import check_columns
from morl.runtime.checks import check_settings
from morl.runtime.conversations import Conversations
from morl.runtime.loading import (
    encode_section,
    load_description,
    load_generation_config,
    prompt_limit,
    sampling_tokenizer,
)
from morl.runtime.overrides import check_overrides
from morl.runtime.parts import Parts, build_parts
from morl.runtime.process import run_settings
from morl.runtime.trainer import make_trainer


@frozen
class Evaluation:
    """What an evaluation leaves behind.

    Attributes:
        figures: what was found.
        config: as resolved, with the model in place of the policy.
        model: folder or hub name.
        samples: the completions with their scores; empty unless they were asked for.
        plugins: versions of the plugins, by distribution.
        is_first_rank: whether this process is the one that reports.
    """

    figures: Figures
    config: Config
    model: str
    samples: tuple[dict[str, Any], ...]
    plugins: Mapping[str, str]
    is_first_rank: bool


def evaluate_model(
    config: Mapping[str, Any],
    model: str,
    measures: Measures | None = None,
    *,
    keep_samples: bool = False,
    loading: Mapping[str, Any] = MappingProxyType({}),
    plugins: Iterable[object] = (),
) -> Evaluation:
    """Scores `model` on the held-out prompts of `config` with its rewards.

    Prompts are sampled with seeds of their own, as in the evaluations of a training run: the same config and model give
    the same figures, whatever the number of processes.  Rewards are reported as they were scored, without weights and
    without the estimator's conditions.

    Args:
        config: in mapping form; its policy is not used.
        model: a model folder, a run folder, or a hub name.
        measures: what to measure besides the mean of every reward.
        keep_samples: keep every completion.
        loading: `trust_remote_code` and `model_args` of the section `policy`, for this model.
        plugins: plugin modules or objects, besides those installed.

    Raises:
        ConfigError: no held-out prompts, a `k` above the number of samples, `success` for a reward that is not there,
            and whatever a training run would refuse.
        DataError: no such model, or prompts that it cannot take.
    """
    measures = measures or Measures()
    registry = Registry.for_config(config, plugins)
    model = ready_model(model)
    resolved = resolve(config, model, measures, registry, loading)
    parts = build_parts(resolved, registry)
    check_settings(resolved, parts)
    for name in measures.success:
        if name not in (names := parts.scorer.names):
            raise ConfigError(f"--success: no reward {name!r}{suggest(name, names)}; rewards: {', '.join(names)}")
    path = str(resolved.policy.options["path"])
    with run_settings(resolved):
        trainer = evaluation_trainer(resolved.trainer)
        module = _module(resolved, parts, path, keep_samples)
        try:
            trainer.predict(module, return_predictions=False)
        finally:
            module.close()
            interrupts.over()
    assert module.scores is not None
    assert resolved.evaluation is not None
    found = figures(module.scores, parts.scorer.names, resolved.evaluation.samples, measures)
    return Evaluation(found, resolved, path, tuple(module.samples), registry.versions(), trainer.is_global_zero)


def _module(config: Config, parts: Parts, path: str, keep_samples: bool) -> EvaluationModule:
    """Loads data, tokenizer and model, the cheap and telling first."""
    assert config.evaluation is not None
    assert parts.evaluation_prompts is not None
    progress.say("loading the held-out prompts", wanted=config.trainer.progress)
    prompts = parts.evaluation_prompts.load()
    if len(prompts):
        check_columns(prompts, parts.scorer.required_columns, parts.scorer.applies)
    try:
        tokenizer, hf_config = load_description(path, config.policy.loading)
    except DataError as error:
        raise DataError(f"{error}{near_folders(path)}") from error
    generation_config = load_generation_config(path, hf_config, config.policy.loading)
    if isinstance(parts.backend, Conversations):
        parts.backend.check({"evaluation.prompts": prompts}, tokenizer, generation_config)
    limit = prompt_limit(hf_config, config.sampling)
    encoded = encode_section(prompts, tokenizer, config.evaluation.prompts, "evaluation.prompts", hf_config, limit)
    shown = sampling_tokenizer(config, tokenizer, hf_config, generation_config, [prompts])
    check_overrides({"evaluation.prompts": prompts}, config, parts.backend, shown, hf_config, generation_config)
    section = config.policy
    progress.say(f"loading the model {path}", wanted=config.trainer.progress)
    policy = load_policy(path, dtype=section.dtype, attention=section.attention, loading=section.loading)
    return EvaluationModule(config, parts, policy, shown, encoded, path, keep_samples)


def evaluation_trainer(options: TrainerConfig) -> L.Trainer:
    return make_trainer(
        options,
        # Sampling needs the whole model on every rank, so there is nothing to gain from sharding it.
        "ddp" if options.strategy == "fsdp2" else options.strategy,
        inference_mode=False,  # backends keep tensors, and in training they are called without it
        logger=False,
        enable_checkpointing=False,
    )
