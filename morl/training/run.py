"""One run from a config to a trained model: `morl.train`."""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from attrs import evolve, field, frozen
from lightning.pytorch.loggers import Logger
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from morl import interrupts, progress
from morl.artifacts.folder import RunFolder, steps_in
from morl.artifacts.metrics import Metrics
from morl.config.keywords import explain_arguments
from morl.config.load import parse, read_yaml, to_mapping
from morl.config.schema import Config, PolicyConfig
from morl.errors import ConfigError
from morl.hookspecs import AdvantageEstimator, PolicyLoss, PromptSource, RolloutBackend
from morl.plugins import Registry
from morl.policy.export import check_export
from morl.policy.load import check_model, load_model, ready_tokenizer, wrap_policy
from morl.prompts import check_columns, check_routes, digest_of
from morl.runtime.checks import check_length, check_settings
from morl.runtime.conversations import Conversations
from morl.runtime.exchange import is_first_rank
from morl.runtime.held_out import HeldOut
from morl.runtime.hub import check_hub
from morl.runtime.loading import (
    encode_section,
    exported_tokenizer,
    load_config,
    load_description,
    load_generation_config,
    prompt_limit,
    sampling_tokenizer,
)
from morl.runtime.overrides import check_overrides
from morl.runtime.parts import Given, Parts, PassedPrompts, PassedRewards, build_parts
from morl.runtime.process import run_settings
from morl.training import ranks, run_folder
from morl.training.callbacks import Evaluations, Stopping
from morl.training.checkpoint_files import CLASSES
from morl.training.environment import environment
from morl.training.given import prepare
from morl.training.initial import initial_evaluation
from morl.training.module import RLModule
from morl.training.record import record
from morl.training.trackers import MLflowTracker, WandbTracker, check_trackers
from morl.training.trainer import build_objects, build_trainer
from morl.types import EncodedPrompt, Prompt


@frozen
class RunResult:
    """What a run leaves behind.

    Attributes:
        folder: the run folder.
        model: the final policy in Hugging Face form.
        rewards: reward names.
        evaluations: held-out metrics by number of finished steps; empty without `evaluation`.
        is_first_rank: whether this process is the one that reports.
        held_out: the same metrics with intervals, of the evaluations that were made now, not before a resumption.
    """

    folder: Path
    model: Path
    rewards: tuple[str, ...]
    evaluations: Mapping[int, Metrics]
    is_first_rank: bool = True
    held_out: Mapping[int, HeldOut] = field(factory=dict)


@explain_arguments
def train(
    config: Config | Mapping[str, Any] | str | Path,
    *,
    policy: Any = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    prompts: PassedPrompts | None = None,
    evaluation_prompts: PassedPrompts | None = None,
    rewards: PassedRewards | None = None,
    estimator: AdvantageEstimator | None = None,
    rollout: RolloutBackend | None = None,
    loss: PolicyLoss | None = None,
    callbacks: Iterable[L.Callback] = (),
    loggers: Iterable[Logger] = (),
    plugins: Iterable[object] = (),
    resume: bool = False,
) -> RunResult:
    """Trains a policy as `config` says.

    Everything that can be checked without a model is checked first; see `morl.errors` for what may be raised.

    Args:
        config: a `Config`, its mapping form, or the path of a YAML file.
        policy: in place of `config.policy`'s source: a model folder or hub name, or a Hugging Face causal LM.  The
            model is copied and stays as it is; the trained one is in the run folder.
        tokenizer: of the policy; a policy that is passed as a model needs it.
        prompts: in place of `config.prompts`'s source: `morl.Prompt`s, or rows, a `datasets.Dataset` or a list of
            mappings, to which the options of rows in `config.prompts` apply (`prompt`, `template`, `system`, `chat`).
        evaluation_prompts: in place of `config.evaluation.prompts`'s source, likewise.
        rewards: besides `config.rewards`: providers, entries, or TRL- or verl-style functions, by reward name, or a
            list of functions that have names.  A section of the same name may set weight, timeout and so on.
        estimator: in place of `config.estimator`.
        rollout: in place of `config.rollout`.
        loss: in place of `config.loss`.
        callbacks: Lightning callbacks, besides morl's.
        loggers: Lightning loggers, besides CSV and TensorBoard.
        plugins: plugin modules or objects, besides those installed.
        resume: continue from the newest checkpoint in `config.output`.
    """
    callbacks, loggers, plugins = [*callbacks], [*loggers], [*plugins]
    objects: dict[str, list[Any]] = {"callbacks": callbacks, "loggers": loggers, "plugins": plugins}
    given = Given(
        prompts=prompts,  # type: ignore[arg-type]  # rows are no prompts yet
        evaluation_prompts=evaluation_prompts,  # type: ignore[arg-type]
        rewards=rewards,  # type: ignore[arg-type]  # a mapping after `prepare`
        estimator=estimator,
        rollout=rollout,
        loss=loss,
        policy=policy,
        tokenizer=tokenizer,
    )
    if isinstance(config, str | Path):
        config = read_yaml(config)
    tree, given, passed = prepare(_tree(config) if isinstance(config, Config) else config, given)
    registry = Registry.for_config(tree, [*plugins, *([passed] if passed.rows else [])])
    config = parse(tree, registry, given.sections)
    parts = build_parts(config, registry, given)
    check_settings(config, parts)
    if config.training.push_to_hub is not None and is_first_rank():
        check_hub(config.training.push_to_hub, "training.push_to_hub")
    folder = RunFolder(Path(config.output))
    resolved = record(config, given, passed)
    providers = [entry.provider for entry in parts.scorer.entries.values()]
    surroundings = partial(environment, resolved, registry.versions(), providers, objects)
    with run_folder.held(folder), run_folder.refusals_explained(folder):
        return _fit(config, parts, folder, resume, callbacks, loggers, resolved, surroundings)


def _fit(
    config: Config,
    parts: Parts,
    folder: RunFolder,
    resume: bool,
    callbacks: list[L.Callback],
    loggers: list[Logger],
    resolved: Mapping[str, Any],
    surroundings: Callable[[], Mapping[str, Any]],
) -> RunResult:
    parent = os.getppid()
    checkpoint, differ = run_folder.check_resumable(folder, resolved) if resume else (None, {})
    if not resume:
        run_folder.check_new(folder, resolved)
    done = steps_in(checkpoint)

    # The users' own classes are imported and made here, for a typo in them should not cost the loading of a model.
    callbacks = [*build_objects(config.trainer.callbacks, "trainer.callbacks", L.Callback), *callbacks]
    loggers = [*build_objects(config.trainer.loggers, "trainer.loggers", Logger), *loggers]  # type: ignore[type-abstract]
    check_trackers(config.trainer.logger)
    evaluations = _evaluations(config, folder, resolved)
    with run_settings(config):
        trainer = build_trainer(config, folder, evaluations, callbacks, loggers, done)
        module, data = _module(config, parts)
        if resume:
            run_folder.check_steps_left(folder, done, module.config.training.length)
        digests = {name: digest_of(rows) for name, rows in data.items()} if is_first_rank() else {}
        altered = run_folder.record_changes(folder, resolved, done, differ, digests)
        if resume:
            run_folder.forget_later(folder, done, altered=altered)
        run_folder.create(folder, resolved, lambda: {**surroundings(), "data": digests})
        for logger in trainer.loggers:
            if isinstance(logger, (WandbTracker, MLflowTracker)):
                logger.log_hyperparams(dict(resolved))
        try:
            (stopping,) = (callback for callback in trainer.callbacks if isinstance(callback, Stopping))  # type: ignore[attr-defined]
            watched = ranks.watched(trainer, stopping.answering, stopping.ending)
            with watched, torch.serialization.safe_globals([*CLASSES]):
                trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
        except BaseException as error:
            if not resume and not int(module.finished_steps):
                # With an engine that could not start, say: the same command is to work when that is mended.
                run_folder.discard(folder)
            reason = ranks.explained(error, trainer, parent)
            if reason is error:
                raise
            raise reason from error
        finally:
            ranks.end_others(trainer, failed=sys.exc_info()[0] is not None)
            module.close()
            interrupts.over()
    results = evaluations.results if evaluations else {}
    found = evaluations.found if evaluations else {}
    return RunResult(folder.path, folder.model, parts.scorer.names, results, trainer.is_global_zero, found)


def _evaluations(config: Config, folder: RunFolder, resolved: Mapping[str, Any]) -> Evaluations | None:
    if config.evaluation is None:
        return None
    initial = config.evaluation.initial
    row = initial_evaluation(initial, resolved) if isinstance(initial, str) else initial
    return Evaluations(folder, config.evaluation.every, row, config.trainer.progress)


def _tree(config: Config) -> dict[str, Any]:
    """A `Config` as a mapping, without `policy.dtype` where it is the default, which nobody may have asked for."""
    tree = to_mapping(config)
    if tree["policy"]["dtype"] == PolicyConfig().dtype:
        del tree["policy"]["dtype"]
    return tree


def _module(config: Config, parts: Parts) -> tuple[RLModule, dict[str, Sequence[Prompt]]]:
    """Loads data, tokenizer and policy, the cheap and telling first; also gives the data, by its section."""
    given = parts.given
    progress.say("loading the prompts", wanted=config.trainer.progress)
    prompts = _load(parts.prompts, given.prompts)
    held_out = _load(parts.evaluation_prompts, given.evaluation_prompts) if config.evaluation else ()
    for source in (prompts, held_out):
        if len(source):
            check_columns(source, parts.scorer.required_columns, parts.scorer.applies)
    check_routes(prompts, parts.scorer.route_columns, parts.scorer.applies)

    model: PreTrainedModel | None = given.policy
    path, tokenizer, hf_config, generation_config = _description(parts, config.policy)
    exported = exported_tokenizer(tokenizer, config.prompts)
    rows = {"prompts": prompts, **({"evaluation.prompts": held_out} if config.evaluation else {})}
    if isinstance(parts.backend, Conversations):
        parts.backend.check(rows, exported, generation_config)
    shown = sampling_tokenizer(config, exported, hf_config, generation_config, [prompts, held_out])
    asked = {"prompts": prompts, "evaluation.prompts": held_out}
    check_overrides(asked, config, parts.backend, shown, hf_config, generation_config)
    limit = prompt_limit(hf_config, config.sampling)
    encoded = encode_section(prompts, tokenizer, config.prompts, "prompts", hf_config, limit)
    if len(encoded) < config.training.prompts_per_step:
        warnings.warn(
            f"there are {len(encoded)} prompts and training.prompts_per_step={config.training.prompts_per_step}, so a"
            " step takes some of them twice; lower it, or give more prompts",
            stacklevel=2,
        )
    encoded_held_out: Sequence[EncodedPrompt] = ()
    if config.evaluation is not None:
        section = config.evaluation.prompts
        encoded_held_out = encode_section(held_out, tokenizer, section, "evaluation.prompts", hf_config, limit)
    if config.training.epochs is not None:
        config = evolve(config, training=config.training.in_steps(len(encoded)))
        check_length(config, parts)
    progress.say(f"loading the model {path}, and trying it out", wanted=config.trainer.progress)
    model = (
        load_model(path, dtype=config.policy.dtype, loading=config.policy.loading)
        if model is None
        else copy.deepcopy(model)
    )
    check_export(model, exported, config.policy.lora, config.policy.quantisation)
    policy = wrap_policy(
        model,
        attention=config.policy.attention,
        lora=config.policy.lora,
        quantisation=config.policy.quantisation,
        gradient_checkpointing=config.policy.gradient_checkpointing,
    )
    if config.policy.router_loss_coef and not policy.has_router_loss:
        raise ConfigError(
            f"policy.router_loss_coef={config.policy.router_loss_coef} needs a mixture of experts that is packed and"
            f" has a loss of its own for its routers; {type(policy.base_model).__name__} is not; set it to 0"
        )
    return RLModule(config, parts, policy, shown, encoded, encoded_held_out, path, exported), rows


def _description(parts: Parts, section: PolicyConfig) -> tuple[str, Any, Any, Any]:
    """Path, tokenizer, config and generation config of the policy, before its weights; what was passed is copied."""
    given, model = parts.given, parts.given.policy
    if model is not None:
        path, tokenizer = str(model.config.name_or_path), given.tokenizer
        hf_config, generation_config = model.config, model.generation_config
    else:
        assert parts.policy is not None
        path = parts.policy.resolve()
        check_model(path)
        section.loading.check(path, packed=section.attention != "padded")
        if given.tokenizer is None:
            tokenizer, hf_config = load_description(path, section.loading)
        else:
            tokenizer, hf_config = given.tokenizer, load_config(path, section.loading)
        generation_config = load_generation_config(path, hf_config, section.loading)
    if given.tokenizer is not None:
        tokenizer = ready_tokenizer(copy.deepcopy(tokenizer), str(tokenizer.name_or_path))
    return path, tokenizer, hf_config, generation_config


def _load(source: PromptSource | None, given: Sequence[Prompt] | None) -> Sequence[Prompt]:
    return source.load() if source is not None else (given or ())
