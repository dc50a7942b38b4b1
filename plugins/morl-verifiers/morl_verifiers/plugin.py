"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

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
