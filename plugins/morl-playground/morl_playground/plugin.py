"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        "playground-shop": "morl_playground.prompts:ShopPrompts",
    }


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {
        "playground-calls": "morl_playground.calls_reward:CallsReward",
        "playground-code": "morl_playground.code_reward:StackCodeReward",
    }


@hookimpl
def morl_register_advantage_estimators() -> Mapping[str, Factory]:
    return {"quantised-gdpo": "morl_playground.quantised:QuantisedGDPO"}


@hookimpl
def morl_register_weightings() -> Mapping[str, Factory]:
    return {"batch-std": "morl_playground.quantised:BatchStdWeighting"}


@hookimpl
def morl_register_environments() -> Mapping[str, Factory]:
    return {"playground-shop": "morl_playground.shop_environment:ShopEnvironment"}


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Rows of the tasks, as their prompt sources have them."""
    doubling = {
        "columns": {"cases": ((4, 8), (0, 0)), "edge_inputs": (-1,)},
        "texts": ["dup +", "2 *", "root", "words"],
    }
    return {
        "reward provider": {"playground-code": doubling},
        "environment": {
            "playground-shop": {"columns": {"prices": {"tea": 3, "jam": 4}, "total": 7}, "replies": ["total 7"]}
        },
    }
