"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_environments() -> Mapping[str, Factory]:
    return {"openenv": "morl_openenv.environment:OpenEnv"}
