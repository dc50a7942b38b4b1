"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {
        "judge": "morl_judge.judge:Judge",
        "reward-model": "morl_judge.reward_model:RewardModel",
    }


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Both need something else that runs or was downloaded."""
    return {
        "reward provider": {
            "judge": {"untried": "it asks a server; the tests of morl-judge start one"},
            "reward-model": {"untried": "it loads a model; the tests of morl-judge make one"},
        }
    }
