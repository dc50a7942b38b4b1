"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_rollout_backends() -> Mapping[str, Factory]:
    return {
        "vllm": "morl_vllm.backend:VllmBackend",
        "vllm-server": "morl_vllm.server.backend:VllmServerBackend",
    }


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Servers have to be started."""
    return {"rollout backend": {"vllm-server": {"untried": "it asks servers; the tests of morl-vllm start some"}}}
