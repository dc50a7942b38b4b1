"""Parsers of calls of tools, one for each format that models write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from morl.conversation.bridge import Bridge
from morl.conversation.call_formats.hermes import Hermes
from morl.conversation.calls import ParsedReply
from morl.errors import ConfigError, suggest


class CallFormat(Protocol):
    """Reads the calls of a reply."""

    def parse(self, text: str, tools: Sequence[Mapping[str, Any]], turn: int) -> ParsedReply: ...


CALL_FORMATS: Mapping[str, CallFormat] = {"hermes": Hermes()}
"""Name of a format -> its parser."""


def call_format_of(name: str, bridge: Bridge) -> CallFormat | None:
    """The parser for replies; None where no tools are offered and none is named.

    Raises:
        ConfigError: an unknown name.
    """
    if name == "auto":
        return CALL_FORMATS["hermes"] if bridge.tools else None
    if name not in CALL_FORMATS:
        raise ConfigError(
            f"unknown call format {name!r}{suggest(name, CALL_FORMATS)}; known: auto, {', '.join(CALL_FORMATS)}"
        )
    return CALL_FORMATS[name]
