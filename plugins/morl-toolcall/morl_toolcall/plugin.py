"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {
        "toolcall": "morl_toolcall.rewards:ToolCallReward",
        "toolcall-format": "morl_toolcall.rewards:FormatReward",
        "toolcall-correctness": "morl_toolcall.rewards:CorrectnessReward",
        "toolcall-surplus": "morl_toolcall.rewards:SurplusReward",
    }


@hookimpl
def morl_register_prompt_sources() -> Mapping[str, Factory]:
    return {"toolrl": "morl_toolcall.prompts:ToolRLPrompts"}
