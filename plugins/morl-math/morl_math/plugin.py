"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {"math-correctness": "morl_math.rewards:MathCorrectness"}


@hookimpl
def morl_register_prompt_sources() -> Mapping[str, Factory]:
    return {
        "gsm8k": "morl_math.prompts:GSM8K",
        "math-problems": "morl_math.prompts:MathProblems",
    }


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """The reference that the reward compares with."""
    return {
        "prompt source": {
            "gsm8k": {"untried": "it reads a data set, from the hub by default"},
            "math-problems": {"untried": "it reads a data set that the config names"},
        },
        "reward provider": {"math-correctness": {"columns": {"answer": "4"}}},
    }
