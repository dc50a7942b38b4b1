"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_prompt_sources() -> Mapping[str, Factory]:
    return {"verifiers": "morl_verifiers.prompts:VerifiersPrompts"}


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {"verifiers": "morl_verifiers.rewards:VerifiersRewards"}


@hookimpl
def morl_register_environments() -> Mapping[str, Factory]:
    return {"verifiers": "morl_verifiers.environment:VerifiersTools"}


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Tasksets are packages of their own."""
    untried = {"verifiers": {"untried": "it loads a taskset; the tests of morl-verifiers bring one"}}
    return {"prompt source": untried, "reward provider": untried, "environment": untried}
