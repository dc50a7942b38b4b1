"""Formats of the families, with tools."""

from __future__ import annotations

from functools import cache
from typing import Any

from chat_families import TEMPLATES, end_ids, family_tokenizer

from morl.conversation import ReplyFormat
from morl.errors import ConfigError
from morl.prompts import ChatTemplate

OWN_FORMATS = {"deepseekv3": "deepseek", "deepseek_r1_distill": "deepseek"}
"""Templates that write no tools, whose call format has to be named."""


def tool(name: str = "add") -> dict[str, Any]:
    properties = {
        "x": {"type": "integer", "description": "a number"},
        "s": {"type": "string", "description": "a text"},
        "l": {"type": "array", "items": {"type": "integer"}, "description": "numbers"},
    }
    parameters = {"type": "object", "properties": properties, "required": ["x"]}
    return {"type": "function", "function": {"name": name, "description": "Adds.", "parameters": parameters}}


TOOLS = [tool("add"), tool("find")]


@cache
def plain_format(name: str) -> ReplyFormat:
    """Without tools."""
    return ReplyFormat.of(family_tokenizer(name), template=ChatTemplate(), end_ids=end_ids(name))


@cache
def tool_format(name: str) -> ReplyFormat:
    """With tools where the template writes them."""
    options: dict[str, Any] = {"call_format": OWN_FORMATS[name]} if name in OWN_FORMATS else {"tools": TOOLS}
    return ReplyFormat.of(family_tokenizer(name), template=ChatTemplate(), end_ids=end_ids(name), **options)


def takes_tools(name: str) -> bool:
    try:
        tool_format(name)
    except ConfigError:
        return False
    return True


WITH_TOOLS = [name for name in TEMPLATES if takes_tools(name)]


def encoded(name: str, text: str) -> list[int]:
    return list(family_tokenizer(name)(text, add_special_tokens=False)["input_ids"])


def tokens(name: str, ids: Any) -> list[str]:
    return list(family_tokenizer(name).convert_ids_to_tokens(list(ids)))


def answer(number: int, content: str) -> dict[str, Any]:
    return {"role": "tool", "name": "add", "tool_call_id": f"call00{number:03}", "content": content}
