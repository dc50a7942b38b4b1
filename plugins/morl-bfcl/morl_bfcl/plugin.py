"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_prompt_sources() -> Mapping[str, Factory]:
    return {"bfcl": "morl_bfcl.prompts:BFCLPrompts"}


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {
        "bfcl-ast": "morl_bfcl.rewards:BFCLMatch",
        "bfcl-ast-by-category": "morl_bfcl.rewards:BFCLMatchByCategory",
        "bfcl-format": "morl_bfcl.rewards:BFCLFormat",
    }


@hookimpl
def morl_register_environments() -> Mapping[str, Factory]:
    return {"bfcl": "morl_bfcl.environment:BFCLEnvironment"}
