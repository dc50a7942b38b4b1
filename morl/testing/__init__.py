"""What plugin authors test with: Hypothesis strategies and conformance checks.  Needs `morl-llm[testing]`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from morl.testing.environments import check_environment
from morl.testing.estimators import check_advantage_estimator
from morl.testing.laws import ALWAYS, CLAIMS, Law
from morl.testing.parts import LawBroken
from morl.testing.strategies import reward_matrices, reward_values

if TYPE_CHECKING:
    from morl.testing.losses import check_policy_loss
    from morl.testing.optimizers import check_optimizer, check_schedule
    from morl.testing.prompts import check_prompt_source
    from morl.testing.rewards import check_reward_provider
    from morl.testing.rollouts import check_rollout_backend
    from morl.testing.scripted import CHAT_TEMPLATE, ScriptedReplies, tiny_chat_model, tool_call
    from morl.testing.weightings import check_weighting

__all__ = [
    "ALWAYS",
    "CHAT_TEMPLATE",
    "CLAIMS",
    "Law",
    "LawBroken",
    "ScriptedReplies",
    "check_advantage_estimator",
    "check_environment",
    "check_optimizer",
    "check_policy_loss",
    "check_prompt_source",
    "check_reward_provider",
    "check_rollout_backend",
    "check_schedule",
    "check_weighting",
    "reward_matrices",
    "reward_values",
    "tiny_chat_model",
    "tool_call",
]

_LATER = {
    "CHAT_TEMPLATE": "scripted",
    "ScriptedReplies": "scripted",
    "check_optimizer": "optimizers",
    "check_policy_loss": "losses",
    "check_prompt_source": "prompts",
    "check_reward_provider": "rewards",
    "check_rollout_backend": "rollouts",
    "check_schedule": "optimizers",
    "check_weighting": "weightings",
    "tiny_chat_model": "scripted",
    "tool_call": "scripted",
}
"""Imported when they are used: some need transformers, which authors of estimators do without."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"morl.testing.{_LATER[name]}"), name)
    raise AttributeError(f"module 'morl.testing' has no attribute {name!r}")
