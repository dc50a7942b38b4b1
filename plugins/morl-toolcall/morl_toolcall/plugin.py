"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """The reference answer of a row, and answers to it: right, wrong, and no call at all."""
    call = '<think>look</think>\n<tool_call>\n{"name": "price", "parameters": {"item": "%s"}}\n</tool_call>'
    example = {"columns": {"ground_truth": call % "tea"}, "texts": [call % "tea", call % "jam", "Tea costs 4."]}
    names = ("toolcall", "toolcall-format", "toolcall-correctness", "toolcall-surplus")
    return {
        "prompt source": {"toolrl": {"untried": "it reads a data set that the config names"}},
        "reward provider": dict.fromkeys(names, example),
    }
