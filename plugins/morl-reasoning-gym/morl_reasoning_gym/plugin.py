"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_prompt_sources() -> Mapping[str, Factory]:
    return {"reasoning-gym": "morl_reasoning_gym.prompts:ReasoningGym"}


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {
        "reasoning-gym-correctness": "morl_reasoning_gym.rewards:ReasoningGymCorrectness",
        "reasoning-gym-format": "morl_reasoning_gym.rewards:ReasoningGymFormat",
    }
