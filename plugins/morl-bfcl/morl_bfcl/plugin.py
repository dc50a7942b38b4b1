"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """A row of a single-turn category with replies to it, and what a task of several turns is known by."""
    area = {
        "name": "area",
        "parameters": {"type": "dict", "properties": {"base": {"type": "integer"}}, "required": ["base"]},
    }
    row = {"category": "simple_python", "functions": [area], "answer": [{"area": {"base": [10]}}]}
    example = {"columns": row, "texts": ["[area(base=10)]", "[area(base=11)]", "It is 10."]}
    names = ("bfcl-ast", "bfcl-ast-by-category", "bfcl-format")
    task = {"id": "multi_turn_base_0", "bfcl_conversation": {"calls_in": "system"}}
    return {
        "prompt source": {"bfcl": {"options": {"category": "simple_python", "limit": 4}}},
        "reward provider": dict.fromkeys(names, example),
        "environment": {"bfcl": {"columns": task, "replies": ["Done."]}},
    }
