"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_policy_sources() -> Mapping[str, Factory]:
    return {"smollm2-135m": "morl_smollm.policy:SmolLM2"}
