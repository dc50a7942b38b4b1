"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {
        "judge": "morl_judge.judge:Judge",
        "reward-model": "morl_judge.reward_model:RewardModel",
    }
