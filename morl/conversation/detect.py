"""Which call format a chat template writes, and how it marks thinking."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from morl.conversation.bridge import Bridge
from morl.conversation.call_formats import CALL_FORMATS
from morl.conversation.call_formats.written import CallFormat
from morl.conversation.reading import Thinking
from morl.errors import ConfigError, suggest

AUTO = "auto"
_NAME, _VALUE = "zqtool", "Zq7Vx value"

_OWN_TOKENS: Mapping[str, str] = {
    "harmony": "<|channel|>",
    "pythonic": "<|tool_call_start|>",
    "deepseek": "<｜tool▁call▁begin｜>",
    "gemma4": "<|tool_call>",
}
"""Call format -> a token that no other model has, for templates that do not write calls themselves."""

_THINKING = (Thinking("<think>", "</think>"), Thinking("<|channel>thought", "<channel|>"))


def call_format_of(name: str, bridge: Bridge) -> CallFormat | None:
    """The parser for calls; None where no tools are offered and none is named.

    The format is the one that reads back what the template writes for a call.  Replies of GPT-OSS are read by theirs
    without tools as well, for it is also how they mark thinking and answer.

    Raises:
        ConfigError: an unknown name, or a format that cannot be found out.
    """
    choices = ", ".join(CALL_FORMATS)
    if name != AUTO:
        if name not in CALL_FORMATS:
            near = suggest(name, [AUTO, *CALL_FORMATS])
            raise ConfigError(f"environment.call_format: unknown call format {name!r}{near}; known: {AUTO}, {choices}")
        if bridge.tools and (written := _written_by(bridge)) not in (None, name):
            warnings.warn(
                f"environment.call_format: calls are read as {name}, but the chat template writes them as {written},"
                f" which is what its model has learned; {AUTO} reads them so",
                stacklevel=1,
            )
        return CALL_FORMATS[name]
    found = _written_by(bridge) or next((name for name, token in _OWN_TOKENS.items() if bridge.has(token)), None)
    if not bridge.tools:
        return CALL_FORMATS[found] if found == "harmony" else None
    if found is None:
        raise ConfigError(
            f"the chat template of the tokenizer {bridge.tokenizer.name_or_path!r} does not show how its model calls"
            f" tools; give one of {choices} as `call_format`, or a template that writes calls as `chat_template`"
        )
    return CALL_FORMATS[found]


def _written_by(bridge: Bridge) -> str | None:
    for arguments in ({"x": _VALUE}, f'{{"x": "{_VALUE}"}}'):  # DeepSeek's templates want text
        call = {"type": "function", "id": "call00000", "function": {"name": _NAME, "arguments": arguments}}
        reply = {"role": "assistant", "content": "", "tool_calls": [call]}
        user = {"role": "user", "content": "u"}
        try:
            text = bridge.render([user, reply], add_generation_prompt=False)
            opening = bridge.render([user], add_generation_prompt=True)
        except Exception:  # noqa: BLE001 - templates raise what they like
            continue
        written = text[next((i for i, (a, b) in enumerate(zip(opening, text, strict=False)) if a != b), len(opening)) :]
        found = next((name for name, parser in CALL_FORMATS.items() if _reads(parser, written)), None)
        if found is not None:
            return found
    return None


def _reads(parser: CallFormat, text: str) -> bool:
    return any(call.name == _NAME and call.arguments == {"x": _VALUE} for call in parser.find(text))


def thinking_of(bridge: Bridge, calls: CallFormat | None) -> Thinking | None:
    """How thinking is marked; None where the template knows nothing of it, or the call format sees to it."""
    if calls is CALL_FORMATS["harmony"]:
        return None
    return next((marks for marks in _THINKING if marks.closing in bridge.source), None)
