"""The system message: which tools there are, and the form in which they are called."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from morl.errors import DataError

PACKAGED = """\
You help users over one or several turns, and you may call tools to do so.

**Tools**
{tools}

**How to answer**
Think first: recall what was said, and what the user wants now. Then call the tools that are needed, or respond to the
user, or both, in this form and in this order:

<think> your thoughts </think>
<tool_call>
{"name": "tool", "parameters": {"parameter": "value"}}
{"name": "another tool", "parameters": {}}
</tool_call>
<response> what the user is told </response>

- The thoughts are always there; of <tool_call> and <response>, leave out what is not needed.
- Each line of <tool_call> is one call: a JSON object with the name of the tool and its parameters. A tool that takes no
  parameters gets {}.
- The dialogue so far may hold earlier calls, responses and, in <obs>, what the tools answered.
"""
"""What the option `system: default` stands for: the instruction of ToolRL (arXiv 2504.13958) in other words."""


def system_message(text: str, row: Mapping[str, Any], where: str) -> str:
    """`text`, with the row's `tools` in place of `{tools}`.

    Tools are objects with `name`, `description` and `parameters`, bare or as the `function` of an object, in a list or
    in the JSON text of one.

    Args:
        text: the message.
        row: fields by name.
        where: names the row in errors.

    Raises:
        DataError: the text asks for tools, and the row's `tools` are missing or cannot be read.

    >>> print(system_message("Use:\\n{tools}", {"tools": [{"name": "now", "description": "The time."}]}, "row 0"))
    Use:
    1. Name: now
    Description: The time.
    Parameters: {}
    """
    if "{tools}" not in text:
        return text
    return text.replace("{tools}", "\n".join(f"{n}. {tool}" for n, tool in enumerate(_tools(row, where), start=1)))


def _tools(row: Mapping[str, Any], where: str) -> Sequence[str]:
    tools: Any = row.get("tools")
    try:
        return [_tool(tool) for tool in (json.loads(tools) if isinstance(tools, str) else tools)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{where}: the system message lists the row's tools, so the column 'tools' must hold a list of objects with"
            f" 'name', 'description' and 'parameters'; got {tools!r:.80}"
        ) from error


def _tool(tool: Mapping[str, Any]) -> str:
    function = tool.get("function") or tool
    parameters = json.dumps(function.get("parameters") or {}, ensure_ascii=False)
    return f"Name: {function['name']}\nDescription: {function.get('description') or ''}\nParameters: {parameters}"
