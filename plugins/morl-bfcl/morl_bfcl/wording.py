"""The system message by which BFCL asks models that are not given tools in another way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from morl.types import Message
from morl_bfcl.package import texts


def with_functions(messages: Sequence[Message], functions: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages, with BFCL's own text about functions and format at the beginning of the system message.

    Args:
        messages: of the first turn.
        functions: documentation of the functions, in BFCL's form.
    """
    text = _system_text(functions)
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{text}\n\n{messages[0]['content']}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def more_functions(functions: Sequence[Mapping[str, Any]]) -> list[Message]:
    """What the user says when functions become available that were withheld.

    They are listed in the message whichever way the others were made known: tools that a chat template writes stand at
    the top, where nothing can be added once the policy has read it.
    """
    # A list of Python, as in BFCL, not JSON.
    text = texts().DEFAULT_USER_PROMPT_FOR_ADDITIONAL_FUNCTION_PROMPTING.format(functions=list(functions))
    return [{"role": "user", "content": text}]


def _system_text(functions: Sequence[Mapping[str, Any]]) -> str:
    found = texts()
    style = found.PROMPT_STYLE_TEMPLATES["classic"]
    text: str = found.PROMPT_TEMPLATE_MAPPING["plaintext"].format(
        persona=style["persona"],
        task=style["task"],
        tool_call_format=style["tool_call_no_tag"].format(
            output_format=found.OUTPUT_FORMAT_MAPPING["python"], param_types=found.PARAM_TYPE_MAPPING["python"]
        ),
        multiturn_behavior=style["multiturn_behavior"],
        available_tools=style["available_tools"].format(format="json", functions=_listed(functions)),
    )
    return text


def _listed(functions: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(functions, indent=4)
