"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_policy_sources() -> Mapping[str, Factory]:
    return {
        "playground": "morl_playground.policy:PlaygroundPolicy",
        "playground-imitation": "morl_playground.imitation:ImitationPolicy",
    }


@hookimpl
def morl_register_prompt_sources() -> Mapping[str, Factory]:
    return {
        "playground-tool-calling": "morl_playground.prompts:ToolCallingPrompts",
        "playground-math": "morl_playground.prompts:MathPrompts",
        "playground-code": "morl_playground.prompts:CodePrompts",
    }


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {"playground-code": "morl_playground.code_reward:StackCodeReward"}
