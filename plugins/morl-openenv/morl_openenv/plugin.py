"""What morl finds through the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_environments() -> Mapping[str, Factory]:
    return {"openenv": "morl_openenv.environment:OpenEnv"}


@hookimpl
def morl_register_examples() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Episodes are those of a server."""
    return {"environment": {"openenv": {"untried": "it asks a server; the tests of morl-openenv start some"}}}
