"""One evaluation, from a config and a model to figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import lightning.pytorch as L
from attrs import frozen
from lightning.fabric.utilities.exceptions import MisconfigurationException
from transformers import AutoConfig

from morl.config.schema import Config, TrainerConfig
from morl.errors import ConfigError, DataError, suggest
from morl.evaluation.arguments import Measures
from morl.evaluation.figures import Figures, figures
from morl.evaluation.model import near_folders
from morl.evaluation.module import EvaluationModule
from morl.evaluation.resolve import resolve
from morl.plugins import Registry
from morl.policy.load import load_policy, load_tokenizer
from morl.prompts import check_columns, encode_prompts
from morl.rollout.context import check_context, context_limit
from morl.runtime.checks import check_settings
from morl.runtime.parts import Parts, build_parts
from morl.runtime.quiet import quiet_libraries
from morl.runtime.seeds import private_torch_rng
from morl.runtime.torch_settings import torch_settings


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
        plugins: plugin modules or objects, besides those installed.

    Raises:
        ConfigError: no held-out prompts, a `k` above the number of samples, `success` for a reward that is not there,
            and whatever a training run would refuse.
        DataError: no such model, or prompts that it cannot take.
    """
    measures = measures or Measures()
    registry = Registry(plugins)
    resolved = resolve(config, model, measures, registry)
    parts = build_parts(resolved, registry)
    check_settings(resolved, parts)
    for name in measures.success:
        if name not in (names := parts.scorer.names):
            raise ConfigError(f"--success: no reward {name!r}{suggest(name, names)}; rewards: {', '.join(names)}")
    path = str(resolved.policy.options["path"])
    with quiet_libraries(), private_torch_rng(resolved.seed), torch_settings(resolved.trainer.threads):
        trainer = _trainer(resolved.trainer)
        module = _module(resolved, parts, path, keep_samples)
        try:
            trainer.predict(module, return_predictions=False)
        finally:
            module.close()
    assert module.scores is not None
    assert resolved.evaluation is not None
    found = figures(module.scores, parts.scorer.names, resolved.evaluation.samples, measures)
    return Evaluation(found, resolved, path, tuple(module.samples), registry.versions(), trainer.is_global_zero)


def _module(config: Config, parts: Parts, path: str, keep_samples: bool) -> EvaluationModule:
    """Loads data, tokenizer and model, the cheap and telling first."""
    assert config.evaluation is not None
    assert parts.evaluation_prompts is not None
    section = config.evaluation.prompts
    prompts = parts.evaluation_prompts.load()
    if not len(prompts):
        raise DataError("evaluation.prompts: the source holds no prompt")
    check_columns(prompts, parts.scorer.required_columns)
    try:
        tokenizer, hf_config = load_tokenizer(path), AutoConfig.from_pretrained(path)
    except DataError as error:
        raise DataError(f"{error}{near_folders(path)}") from error
    check_context(hf_config, 1, config.sampling.max_tokens)
    room = context_limit(hf_config)
    room = None if room is None else room - config.sampling.max_tokens
    limit = min((tokens for tokens in (section.max_tokens, room) if tokens is not None), default=None)
    try:
        encoded = encode_prompts(prompts, tokenizer, max_tokens=limit, on_long=section.on_long)
    except DataError as error:
        raise DataError(f"evaluation.prompts: {error}") from error
    policy = load_policy(path, dtype=config.policy.dtype, attention=config.policy.attention)
    return EvaluationModule(config, parts, policy, tokenizer, encoded, path, keep_samples)


def _trainer(options: TrainerConfig) -> L.Trainer:
    try:
        return L.Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.num_nodes,
            # Sampling needs the whole model on every rank, so there is nothing to gain from sharding it.
            strategy="ddp" if options.strategy == "fsdp2" else options.strategy,
            precision=options.precision,  # type: ignore[arg-type]
            deterministic=options.deterministic,
            inference_mode=False,  # backends keep tensors, and in training they are called without it
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {error}") from error
