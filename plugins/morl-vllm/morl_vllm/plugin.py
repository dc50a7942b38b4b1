"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_rollout_backends() -> Mapping[str, Factory]:
    return {
        "vllm": "morl_vllm.backend:VllmBackend",
        "vllm-server": "morl_vllm.server.backend:VllmServerBackend",
    }
