"""JSON schemas of Python functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from morl.errors import ConfigError


def tool_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON schema of a function, from its signature and its docstring.

    Raises:
        ConfigError: names the function, and what is missing.
    """
    from transformers.utils.chat_template_utils import get_json_schema

    try:
        schema: dict[str, Any] = get_json_schema(function)
    except Exception as error:
        name = getattr(function, "__qualname__", repr(function))
        raise ConfigError(f"the function {name} cannot be a tool: {error}") from error
    return schema
