"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

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
