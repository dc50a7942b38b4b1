"""What can be known to be wrong before any data or model is loaded."""

from __future__ import annotations

import warnings

from morl.config.schema import Config
from morl.errors import ConfigError
from morl.training.parts import Parts


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
    check_rewards = getattr(parts.estimator, "check_rewards", None)
    if check_rewards is not None:
        check_rewards(parts.scorer.names)
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
    if config.optimizer.warmup_steps >= training.steps > 1:
        raise ConfigError(
            f"optimizer.warmup_steps={config.optimizer.warmup_steps} leaves no step at the full learning rate;"
            f" training.steps is {training.steps}"
        )
    if config.trainer.precision.startswith("16"):
        raise ConfigError(
            f"trainer.precision={config.trainer.precision} needs gradient scaling, which morl does not do;"
            " use bf16-mixed, bf16-true or 32-true"
        )
    batch_norm = getattr(parts.estimator, "batch_norm", False)
    if batch_norm and training.prompts_per_step == 1 and training.group_size == 2:
        warnings.warn(
            "a batch of one prompt with two completions: the batch step of gdpo rescales its only group, which"
            " gives the advantages of grpo; take more prompts per step",
            stacklevel=2,
        )
