"""morl's estimators in ms-swift 4: a file for `--external_plugins`.

    # my_plugin.py
    from morl.integrations.ms_swift import install

    install("gdpo", names=["correct", "brief"], conditions={"brief": {"on": "correct"}})

ms-swift hands over the gathered matrix and the weights, not the names: `names` are those of `--reward_funcs`, in order.
Its own `--advantage_estimator` and `--scale_rewards` then choose nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from morl.errors import ConfigError
from morl.integrations.matrix import Seam, estimator, named_columns

HOMES = (
    "swift.rlhf_trainers.grpo_trainer",
    "swift.megatron.trainers.grpo_trainer",
    "swift.ray.megatron.grpo_trainer",
)
"""The trainers that import the function by name."""


def install(name: str, *, names: Sequence[str] | None = None, **options: Any) -> None:
    """Puts the estimator in the place of ms-swift's advantages, in every trainer that is installed.

    Args:
        name: of the estimator.
        names: of the rewards, in the order of `--reward_funcs`; r0, r1, .. by default.
        options: of the estimator.

    Raises:
        ConfigError: options that are refused, or no trainer with a function `compute_advantages`.
    """
    function = advantage_function(name, names=names, **options)
    found = [module for module in map(_imported, HOMES) if hasattr(module, "compute_advantages")]
    if not found:
        raise ConfigError(
            f"no trainer of ms-swift has `compute_advantages` ({', '.join(HOMES)}); morl knows ms-swift 4.6"
        )
    for module in found:
        module.compute_advantages = function
        if hasattr(module, "compute_advantages_dynamic"):
            module.compute_advantages_dynamic = refuse_dynamic


def advantage_function(name: str, *, names: Sequence[str] | None = None, **options: Any) -> Any:
    """A function with the signature of ms-swift's `compute_advantages`."""
    seam = Seam("ms-swift", estimator(name, **options))

    def compute_advantages(
        rewards_per_func: Tensor,
        reward_weights: Tensor,
        num_generations: int,
        advantage_estimator: str = "grpo",
        scale_rewards: str = "group",
        kl_in_reward: bool = False,
        beta: float = 0.0,
        kl_values: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if kl_in_reward and beta != 0.0:
            raise ConfigError("kl_in_reward adds the KL to the sum of the rewards, which morl's estimators do not form")
        groups_B = torch.arange(len(rewards_per_func)) // num_generations
        rewards = named_columns(rewards_per_func, groups_B, names, reward_weights, step=seam.step)
        sums_B = (rewards_per_func * reward_weights).nansum(1)
        return seam.ask(rewards).to(rewards_per_func), sums_B

    return compute_advantages


def refuse_dynamic(*_: Any, **__: Any) -> None:
    """In place of ms-swift's function for conversations whose prompts have unlike numbers of rows."""
    raise ConfigError("morl's estimators do not cover ms-swift's conversations with varying numbers of samples")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
