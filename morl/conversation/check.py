"""What a chat template does to a conversation, found out by rendering one, before anything is sampled.

Two things are asked of a template.  Can it continue at all?  What cannot is refused.  And would it, asked for the whole
conversation again, write what stands there already as it stands?  morl never rewrites a token, whatever a template
would do, but who renders the conversation anew when the model is used shows it another text than it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from morl.conversation.bridge import MARK, Bridge
from morl.conversation.schema import function_of
from morl.errors import ConfigError
from morl.types import Message

_THOUGHT, _NAME = "Zq7VxTHOUGHT", "zqtool"


@frozen
class History:
    """What becomes of a conversation that goes on.

    Attributes:
        refused: why it cannot go on; empty where it can.
        changed: what of it the template would write in another way, asked anew; empty where it keeps it.
    """

    refused: str = ""
    changed: str = ""


def history(bridge: Bridge, kinds: Sequence[str], thought: str = "") -> History:
    """What a template does to a conversation.

    Texts are compared, not tokens, for the same text may be encoded in another way before another one.

    Args:
        bridge: with the tools.
        kinds: the role of what follows each reply, `tool` or `user`.
        thought: thinking of each reply.
    """
    for written in (False, True):  # DeepSeek's templates want arguments as text
        found = _history(bridge, kinds, thought, written)
        if not found.refused:
            return found
    return found


def _history(bridge: Bridge, kinds: Sequence[str], thought: str, written: bool) -> History:
    name = str(function_of(bridge.tools[0]).get("name")) if bridge.tools else "f"
    messages: list[dict[str, Any]] = [{"role": "user", "content": "u"}]
    try:
        before = bridge.render(messages, add_generation_prompt=True)
        for turn, kind in enumerate(kinds):
            index, text = f"call{turn:05}", f"{MARK}{turn}"
            reply: dict[str, Any] = {"role": "assistant", "content": f"said {turn}"}
            if kind == "tool":
                arguments: Any = f'{{"x": {turn}}}' if written else {"x": turn}
                call = {"type": "function", "id": index, "function": {"name": name, "arguments": arguments}}
                reply |= {"content": "", "tool_calls": [call]}
            if thought:
                reply |= {"reasoning_content": thought, "thinking": thought}
            messages += [reply, {"role": kind, "name": name, "tool_call_id": index, "content": text}]
            now = bridge.render(messages, add_generation_prompt=True)
            if text not in now:
                return History(refused=f"leaves out a message of the role {kind!r}, without an error")
            if thought not in now:
                return History(changed=f"leaves out the thinking before a message of the role {kind!r}")
            if not now.startswith(before):
                return History(changed=f"rewrites what stands before a message of the role {kind!r}")
            before = now
    except Exception as error:  # noqa: BLE001 - templates raise what they like
        return History(refused=f"refuses a message of the role {kinds[0]!r} ({type(error).__name__}: {error})")
    return History()


def check_tools(bridge: Bridge) -> None:
    """Refuses a template that does not tell the policy of its tools.

    Raises:
        ConfigError: they are left out, or the template raises.
    """
    where = f"the chat template of the tokenizer {bridge.tokenizer.name_or_path!r}"
    names = [str(function_of(tool).get("name")) for tool in bridge.tools]
    opening: list[Message] = [{"role": "user", "content": "u"}]
    schema = {"name": _NAME, "description": "d", "parameters": {"type": "object", "properties": {}}}
    try:
        bridge.render(opening, add_generation_prompt=True)
        # A tool of a name that occurs nowhere else.
        text = bridge.with_tools([{"type": "function", "function": schema}]).render(opening, add_generation_prompt=True)
    except Exception as error:
        raise ConfigError(f"{where} refuses the tools ({type(error).__name__}: {error})") from error
    if _NAME not in text:
        raise ConfigError(
            f"{where} leaves out the tools ({', '.join(names[:3])}), without an error; give a template that writes"
            " them as `chat_template`, or use an environment that describes its actions in its own messages"
        )


def check_roles(bridge: Bridge) -> dict[str, str]:
    """Roles that a template cannot go on after -> why not, of `tool` and `user`.

    Raises:
        ConfigError: results of tools, though there are tools, or both.
    """
    reasons = {role: history(bridge, (role, role)).refused for role in ("tool", "user")}
    refused = {role: reason for role, reason in reasons.items() if reason}
    where = f"the chat template of the tokenizer {bridge.tokenizer.name_or_path!r}"
    if bridge.tools and "tool" in refused:
        raise ConfigError(
            f"{where} {refused['tool']}; give a template that writes results of tools as `chat_template`, or use an"
            " environment that answers with messages of the user"
        )
    if len(refused) == len(reasons):
        raise ConfigError(f"{where} {refused['user']}; give another template as `chat_template`")
    return refused


def changes(bridge: Bridge, *, thinks: bool) -> tuple[str, ...]:
    """What a template would write in another way if it were asked anew, in words, for a log.

    Args:
        bridge: with the tools.
        thinks: whether the template knows of thinking.
    """
    found: dict[str, None] = {}
    for role in ("tool", "user") if bridge.tools else ("user",):
        for thought in ("", _THOUGHT) if thinks else ("",):
            found |= {history(bridge, (role, role), thought).changed: None}
    return tuple(
        f"asked for the whole conversation again, the chat template {what}; in training nothing is rewritten, the"
        " policy goes on reading what it sampled"
        for what in found
        if what
    )
