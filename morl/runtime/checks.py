"""What can be known to be wrong before any data or model is loaded."""

from __future__ import annotations

import math
import warnings
from typing import Any

from morl.config.schema import Config, ImportanceConfig
from morl.config.sections import named
from morl.errors import ConfigError, suggest
from morl.runtime.conversation_checks import check_conversations
from morl.runtime.hardware import check_bfloat16
from morl.runtime.learning_rate import factor_of_run
from morl.runtime.overrides import check_known
from morl.runtime.parts import Parts, correction_of, innermost, weighting_of
from morl.runtime.templates import chat_template
from morl.runtime.update_checks import check_update

_STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_false",
    "ddp_find_unused_parameters_true",
    "fsdp2",
)


def check_settings(config: Config, parts: Parts) -> None:
    """Refuses settings that cannot work together.

    Raises:
        ConfigError: says which keys, and how to mend them.
    """
    training = config.training
    smallest = getattr(parts.estimator, "min_group_size", 1)
    if training.group_size < smallest:
        raise ConfigError(
            f"training.group_size={training.group_size}: {config.estimator.name} compares the completions of one prompt"
            f" and needs at least {smallest}; with fewer every advantage is 0"
        )
    _check_turns(config, parts)
    _check_rewards(parts)
    check_known(config.sampling, parts.backend, config.rollout.name)
    check_conversations(config)
    chat_template(config.prompts, "prompts")
    if config.evaluation is not None:
        chat_template(config.evaluation.prompts, "evaluation.prompts")
    if all(weight == 0 for weight in parts.scorer.weights.values()):
        raise ConfigError("the weight of every reward is 0: nothing would be learned; set rewards.<name>.weight")
    if training.group_size > 1 and config.sampling.temperature == 0:
        raise ConfigError(
            "sampling.temperature=0 makes all completions of a prompt the same, so every advantage is 0;"
            " set a temperature above 0 (evaluation.temperature may be 0)"
        )
    if training.mini_batches > training.prompts_per_step:
        raise ConfigError(
            f"training.mini_batches={training.mini_batches} deals out whole groups and there are only"
            f" training.prompts_per_step={training.prompts_per_step} of them per step"
        )
    if training.samples_limit is not None and not training.samples_every:
        raise ConfigError("training.samples_limit has no effect: training.samples_every=0 writes no samples")
    _check_lag(config, parts)
    _check_best(config, parts)
    _check_optimizer(config, parts)
    evaluation = config.evaluation
    if evaluation is not None and evaluation.samples > 1 and evaluation.temperature == 0:
        raise ConfigError(
            f"evaluation.temperature=0 makes all evaluation.samples={evaluation.samples} completions of a prompt the"
            " same; set samples to 1, or a temperature"
        )
    if config.trainer.strategy.startswith("deepspeed"):
        raise ConfigError(
            f"trainer.strategy={config.trainer.strategy}: DeepSpeed's engine keeps the gradients to itself, counts the"
            " backward passes between two steps, and clips; morl does these itself, once per mini-batch, whose passes"
            " differ in number; take fsdp2, which shards weights, gradients and optimizer state as ZeRO-3 does"
        )
    if config.trainer.strategy not in _STRATEGIES:
        raise ConfigError(
            f"trainer.strategy: unknown strategy {config.trainer.strategy!r}"
            f"{suggest(config.trainer.strategy, _STRATEGIES)}; available: {', '.join(_STRATEGIES)}"
        )
    if training.keep == "weights" and config.trainer.strategy == "fsdp2":
        raise ConfigError(
            "training.keep=weights: PyTorch reads a sharded checkpoint only as a whole; keep all of it, or choose"
            " another trainer.strategy"
        )
    check_update(config, parts)
    if config.trainer.precision.startswith("bf16-true"):
        raise ConfigError(
            "trainer.precision=bf16-true also rounds the model's position table, which takes long completions apart;"
            " for weights in bfloat16 set policy.dtype=bfloat16 and leave the precision at 32-true"
        )
    if config.trainer.precision.startswith("16"):
        raise ConfigError(
            f"trainer.precision={config.trainer.precision} needs gradient scaling, which morl does not do;"
            " use bf16-mixed or 32-true"
        )
    if config.policy.dtype == "bfloat16" and config.policy.lora is None and config.trainer.strategy == "fsdp2":
        raise ConfigError(
            "policy.dtype=bfloat16 under trainer.strategy=fsdp2 rounds nearly all updates of the weights away; set"
            " trainer.precision=bf16-mixed and policy.dtype=float32, or train adapters (policy.lora)"
        )
    _check_quantisation(config)
    check_bfloat16(config)
    batch_norm = getattr(parts.estimator, "batch_norm", False)
    if batch_norm and training.prompts_per_step == 1 and training.group_size == 2:
        warnings.warn(
            "a batch of one prompt with two completions: the batch normalisation of gdpo rescales its only group, which"
            " gives the advantages of grpo; take more prompts per step",
            stacklevel=2,
        )


def _check_quantisation(config: Config) -> None:
    if config.policy.quantisation is None:
        return
    if config.policy.lora is None:
        raise ConfigError(
            "policy.quantisation without policy.lora would leave nothing to train: weights of four bits have no"
            " gradient; set policy.lora, or leave the quantisation out"
        )
    if config.trainer.strategy == "fsdp2":
        raise ConfigError(
            "policy.quantisation under trainer.strategy=fsdp2 is not offered: shards of a weight would be cut from"
            " their scales; choose trainer.strategy=ddp, for each rank keeps a quarter of half precision's memory"
        )


def _check_best(config: Config, parts: Parts) -> None:
    """The reward that says which model is the best is one that is evaluated."""
    best, names = config.training.keep_best, parts.scorer.names
    if best is None:
        return
    if config.evaluation is None:
        raise ConfigError(
            f"training.keep_best={best} needs held-out prompts to tell which model is the best; add a section"
            " `evaluation`, with `every` for the steps between"
        )
    if best not in names:
        raise ConfigError(
            f"training.keep_best={best}: there is no reward of this name{suggest(best, names)}; rewards:"
            f" {', '.join(names)}"
        )


def _check_optimizer(config: Config, parts: Parts) -> None:
    options = config.optimizer
    finite = {f"optimizer.{name}": getattr(options, name) for name in ("lr", "max_grad_norm", "min_lr", "warmup_ratio")}
    for name, value in {**finite, "policy.router_loss_coef": config.policy.router_loss_coef}.items():
        if not math.isfinite(value):
            raise ConfigError(f"{name} must be finite; got {value}")
    if options.warmup_steps and options.warmup_ratio:
        raise ConfigError(
            f"optimizer.warmup_steps={options.warmup_steps} and optimizer.warmup_ratio={options.warmup_ratio} both say"
            " how long the warm-up is; leave one out"
        )
    if options.warmup_ratio >= 1:
        raise ConfigError(f"optimizer.warmup_ratio is a share of the run, below 1; got {options.warmup_ratio}")
    if config.trainer.strategy == "fsdp2" and not getattr(parts.optimizer, "sharded", True):
        chosen = "name", options.name
        if "class_path" in options.options:
            chosen = "class_path", options.options["class_path"]
        raise ConfigError(
            f"optimizer.{'='.join(chosen)} is not known to step on sharded weights; choose another trainer.strategy,"
            " or the optimizer adamw or muon"
        )
    if options.min_lr:
        if options.min_lr >= options.lr:
            raise ConfigError(f"optimizer.min_lr={options.min_lr} must be below optimizer.lr={options.lr}")
        if named(options.schedule)[0] == "constant":
            raise ConfigError(
                f"optimizer.min_lr={options.min_lr} has no effect: the schedule `constant` never falls; set"
                " optimizer.schedule, or leave min_lr out"
            )
    if config.training.epochs is None:
        check_length(config, parts)


def check_length(config: Config, parts: Parts) -> None:
    """Refuses a run that is over before its warm-up or does not suit its schedule; once its steps are known.

    Raises:
        ConfigError: says how long both are.
    """
    warmup, steps = config.optimizer.warmup_steps, config.training.length
    if warmup >= steps > 1:
        raise ConfigError(
            f"optimizer.warmup_steps={warmup} leaves no step at the full learning rate; training.steps is {steps}"
        )
    factor_of_run(config, parts.schedule)(steps - 1)  # asked once, so that what it refuses is refused here


def _check_turns(config: Config, parts: Parts) -> None:
    """An estimator of turns would do what one of completions does, and say nothing of it."""
    environment = config.environment
    if not getattr(innermost(parts.estimator), "needs_turns", False):
        return
    if environment is None or environment.max_turns == 1:
        found = "there is no environment" if environment is None else "environment.max_turns is 1"
        raise ConfigError(
            f"estimator {config.estimator.name} tells the turns of a completion apart, and here every completion is one"
            f" turn: {found}; add an environment of several turns, or take an estimator of completions, such as mo-grpo"
        )


def _check_rewards(parts: Parts) -> None:
    weighting: Any = weighting_of(parts.estimator)
    estimator: Any = parts.estimator
    for part in (estimator, weighting):
        if getattr(part, "check_rewards", None) is not None:
            part.check_rewards(parts.scorer.names)
        if getattr(part, "check_bounds", None) is not None:
            part.check_bounds(dict(parts.scorer.bounds), dict(parts.scorer.weights))
    if getattr(weighting, "requires_bounds", False):
        weighted = [name for name, weight in parts.scorer.weights.items() if weight != 0]
        missing = [name for name in weighted if name not in parts.scorer.bounds]
        if missing:
            raise ConfigError(
                f"{parts.label('estimator.weighting')} needs the bounds of every reward, and {', '.join(missing)} has"
                f" none; set rewards.{missing[0]}.bounds: [LOW, HIGH]"
            )


def _check_lag(config: Config, parts: Parts) -> None:
    importance, lag = config.importance, config.rollout.lag
    if lag and config.training.dynamic_sampling_rounds > 1:
        raise ConfigError(
            f"rollout.lag={lag} samples batches before it is known how many groups of the earlier ones have signal;"
            " set training.dynamic_sampling_rounds to 1, which drops groups without replacing them, or to 0"
        )
    correction = correction_of(config, parts.backend)
    for name, needed in (("level", ("truncated", "masked")), ("high", ("truncated", "masked")), ("low", ("masked",))):
        if getattr(importance, name) != getattr(ImportanceConfig(), name) and correction not in needed:
            raise ConfigError(
                f"importance.{name}={getattr(importance, name)} has no effect with importance.correction="
                f"{importance.correction} and rollout.lag={lag}; set correction to {' or '.join(needed)}, or drop it"
            )
    if importance.low >= importance.high:
        raise ConfigError(f"importance.low={importance.low} must be below importance.high={importance.high}")
