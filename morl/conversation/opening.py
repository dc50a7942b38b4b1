"""What an episode says before the first turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from morl.conversation.answers import AnswerError, check_json, check_messages, check_text
from morl.errors import PluginError
from morl.hookspecs import Episode
from morl.types import Message


@frozen
class Opening:
    """What an episode puts before the first turn.

    Attributes:
        prompt: messages in place of those of the prompt; None leaves these.
        messages: after them.
        tools: JSON schemas of what the policy may call.
    """

    prompt: tuple[Message, ...] | None = None
    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, episode: Episode) -> Opening:
        """That of an episode.

        Raises:
            AnswerError: no episode, or messages and tools that are none.
        """
        if not isinstance(episode, Episode):
            raise AnswerError(f"open() must give an episode with step() and close(); got {episode!r:.200}")
        prompt = getattr(episode, "prompt", None)
        if prompt is not None:
            check_messages(prompt, ("system", "user", "assistant", "tool"))
        messages = getattr(episode, "messages", ())
        check_messages(messages, ("system", "user"))
        tools = getattr(episode, "tools", ())
        if not isinstance(tools, Sequence) or not all(isinstance(tool, Mapping) for tool in tools):
            raise AnswerError(f"`tools` must be a list of JSON schemas; got {tools!r:.200}")
        check_json("tools", [dict(tool) for tool in tools])
        check_text(tools)
        return cls(None if prompt is None else tuple(prompt), tuple(messages), tuple(tools))

    @property
    def is_empty(self) -> bool:
        """Whether the prompt stays as it is."""
        return self.prompt is None and not self.messages and not self.tools

    @property
    def key(self) -> str:
        """Equal for openings that are."""
        return json.dumps([self.prompt, self.messages, self.tools], default=dict)


def same_opening(openings: Sequence[Opening], row: int) -> Opening:
    """That of all episodes of one prompt.

    Raises:
        PluginError: they differ, so that their completions would not be answers to one question.
    """
    first = openings[0]
    for other in openings[1:]:
        if other.key != first.key:
            raise PluginError(
                f"the environment opened two episodes of the prompt of row {row} differently, first {first.key:.300},"
                f" then {other.key:.300}; completions of one prompt are compared, so what an episode says before the"
                " first turn must follow from the prompt and the seed, which all of them share"
            )
    return first
