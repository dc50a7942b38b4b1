"""What a task is, and which there are.

A task is a small world in plain text: all its prompts, and imperfect demonstrations for its SFT initialisation.
To add one, write its module beside `tool_calling.py`, name it in `TASKS`, and offer its prompts as a prompt source.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from morl.errors import ConfigError, suggest
from morl.types import Message, Prompt

Split: TypeAlias = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")


class Task(Protocol):
    """A task; its fields are the options that shape its demonstrations."""

    def prompts(self, split: Split) -> Sequence[Prompt]:
        """Every prompt of the split, plain text that ends in `->`, in a fixed order; no prompt is in both splits."""
        ...

    def demonstration(self, prompt: Prompt, random: Random) -> str:
        """A completion, the way a policy that has yet to be trained would write it: often wrong."""
        ...

    def texts(self) -> Sequence[str]:
        """Texts that together hold everything that prompts and completions may need to say."""
        ...


@runtime_checkable
class ConversationTask(Protocol):
    """A task whose completions are conversations with tools.

    Attributes:
        tools: JSON schemas of the functions that the policy may call.
    """

    @property
    def tools(self) -> Sequence[Mapping[str, Any]]: ...

    def prompts(self, split: Split) -> Sequence[Prompt]:
        """Every prompt of the split, a chat, in a fixed order; no prompt is in both splits."""
        ...

    def conversation(self, prompt: Prompt, random: Random) -> Sequence[Message]:
        """A conversation, the way a policy that has yet to be trained would hold it; calls are in the content."""
        ...

    def texts(self) -> Sequence[str]:
        """Texts that together hold everything that anybody may need to say."""
        ...


TASKS: Mapping[str, str] = {
    "tool-calling": "morl_playground.tool_calling:ToolCalling",
    "math": "morl_playground.iterated:IteratedMap",
    "code": "morl_playground.stack_code:StackCode",
    "shop": "morl_playground.shop:Shop",
}


def find_task(name: str, options: Mapping[str, Any] | None = None) -> Task | ConversationTask:
    """The task of this name with these options.

    Raises:
        ConfigError: no such task, or an option that it does not have.
    """
    if name not in TASKS:
        raise ConfigError(f"unknown playground task {name!r}{suggest(name, TASKS)}; available: {', '.join(TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    try:
        task: Task | ConversationTask = getattr(importlib.import_module(module), attribute)(**(options or {}))
    except TypeError as error:
        raise ConfigError(f"task_options of {name!r}: {error}") from error
    return task
