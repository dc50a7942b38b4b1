"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """A problem, and replies to it."""
    problem: dict[str, Any] = {"task": "chain_sum", "settings": {}, "level": None, "seed": 0, "row": 0}
    example = {"columns": {"reasoning_gym": problem}, "texts": ["<answer>4</answer>", "<answer>four</answer>", "4"]}
    names = ("reasoning-gym-correctness", "reasoning-gym-format")
    return {
        "prompt source": {"reasoning-gym": {"options": {"task": "chain_sum", "size": 4}}},
        "reward provider": dict.fromkeys(names, example),
    }
