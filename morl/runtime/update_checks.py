"""What can be known to be wrong with the loss and what belongs to it, before any data or model is loaded."""

from __future__ import annotations

import math
from typing import get_args

from morl.config.schema import Config, EntropyConfig, ReferenceConfig
from morl.errors import ConfigError, PluginError
from morl.runtime.parts import Parts
from morl.types import Aggregation


def check_update(config: Config, parts: Parts) -> None:
    """Refuses settings of the update that cannot work together, or have no effect.

    Raises:
        ConfigError: says which keys, and how to mend them.
        PluginError: a loss that breaks the contract.
    """
    _check_loss(config, parts)
    _check_entropy(config.entropy)
    _check_reference(config, parts)


def _check_loss(config: Config, parts: Parts) -> None:
    loss = parts.loss
    if not callable(loss.aggregation) and loss.aggregation not in get_args(Aggregation):
        raise PluginError(
            f"policy loss {config.loss.name!r} asks for the unknown aggregation {loss.aggregation!r}; known:"
            f" {', '.join(get_args(Aggregation))}, or a function of lengths and max_tokens"
        )
    share = getattr(loss, "top_entropy", 1.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise PluginError(
            f"policy loss {config.loss.name!r} has top_entropy={share!r}; expected a share above 0 and at most 1"
        )
    if getattr(loss, "corrects_importance", False) and config.importance.correction in ("truncated", "masked"):
        raise ConfigError(
            f"importance.correction={config.importance.correction} has no effect: the loss {config.loss.name} weighs"
            " completions by the ratio to the rollout policy itself; leave it out"
        )


def _check_entropy(options: EntropyConfig) -> None:
    for name in ("coef", "target", "delta", "min_coef", "max_coef"):
        value = getattr(options, name)
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"entropy.{name} must be finite; got {value}")
        if options.target is None and name in ("delta", "min_coef", "max_coef") and value is not None:
            raise ConfigError(f"entropy.{name}={value} has no effect without entropy.target; set that, or leave it out")
    low, high = options.min_coef or 0.0, 1.0 if options.max_coef is None else options.max_coef
    if options.target is not None and not low <= options.coef <= high:
        raise ConfigError(
            f"entropy.coef={options.coef} must lie between entropy.min_coef={low} and entropy.max_coef={high}, within"
            " which it is adapted to the target"
        )


def _check_reference(config: Config, parts: Parts) -> None:
    options, default = config.reference, ReferenceConfig()
    if options != default and not parts.needs_reference:
        raise ConfigError(
            "the section reference has no effect: nothing looks at a reference policy; set loss.kl_coef, or"
            " take the reward reference-kl"
        )
    if options.mixup > 1:
        raise ConfigError(f"reference.mixup is a share, at most 1; got {options.mixup}")
    if options.mixup != default.mixup and not options.sync_every:
        raise ConfigError(f"reference.mixup={options.mixup} has no effect without reference.sync_every; set that")
    lora = config.policy.lora
    if lora is not None and lora.adapter is None and options != default:
        raise ConfigError(
            "with policy.lora the reference is the policy without its adapters, which is neither moved nor held in"
            " another dtype; leave the section reference out"
        )
    if options.sync_every and config.trainer.strategy == "fsdp2":
        raise ConfigError(
            "reference.sync_every: a sharded reference stays as it began, for its weights would have to be gathered for"
            " checkpoints; choose another trainer.strategy"
        )
    half = "bfloat16" in (options.dtype, config.policy.dtype if options.dtype is None else None)
    if half and options.mixup < 1:
        raise ConfigError(
            f"reference.mixup={options.mixup} with weights in bfloat16 rounds most of each move away; set"
            " reference.dtype=float32, or mixup to 1"
        )
