"""The tasks' prompts, as prompt sources."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import ClassVar

from attrs import field, frozen, validators

from morl.errors import ConfigError
from morl.types import Prompt
from morl_playground.tasks import SPLITS, Split, find_task


@frozen
class TaskPrompts:
    """Prompts of the task that a subclass names.

    Args:
        split: `train`, or `test`, which shares no prompt with it.
        size: this many prompts; default: all of the split.
        skip: leave out this many of the whole order first. Parts of a split that all say what they skip, be it 0, are
            slices of one order, so they can be kept apart; without it `size` prompts are drawn by themselves.
        seed: of their order, and so of which ones they are if not all.

    Raises:
        ConfigError: an unknown split, or more prompts than the split has.
    """

    task: ClassVar[str]

    split: Split = "train"
    size: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    seed: int = 0
    skip: int | None = field(default=None, validator=validators.optional(validators.ge(0)))

    def __attrs_post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ConfigError(f"split must be one of {', '.join(SPLITS)}; got {self.split!r}")
        held = len(self._prompts())
        if self.size is not None and self.size > held:
            raise ConfigError(f"size must be at most {held}, the prompts that {self.split!r} holds; got {self.size}")
        if self.skip is not None and self.skip + (self.size or 1) > held:
            raise ConfigError(
                f"skip={self.skip} leaves {max(0, held - self.skip)} of the {held} prompts of {self.split!r}, and"
                f" {self.size or 1} of them are wanted; make skip or size smaller"
            )

    def load(self) -> list[Prompt]:
        prompts = self._prompts()
        if self.skip is None:
            return Random(self.seed).sample(prompts, self.size or len(prompts))
        end = None if self.size is None else self.skip + self.size
        return Random(self.seed).sample(prompts, len(prompts))[self.skip : end]

    def _prompts(self) -> Sequence[Prompt]:
        return find_task(self.task).prompts(self.split)


@frozen
class ToolCallingPrompts(TaskPrompts):
    """Prompts of the task `tool-calling`; the column `ground_truth` is what the rewards of morl-toolcall grade."""

    task = "tool-calling"


@frozen
class MathPrompts(TaskPrompts):
    """Prompts of the task `math`; the column `answer` is the number that a completion should end in after `= `."""

    task = "math"


@frozen
class CodePrompts(TaskPrompts):
    """Prompts of the task `code`; the columns `cases` and `edge_inputs` are what the reward `playground-code` runs."""

    task = "code"


@frozen
class ShopPrompts(TaskPrompts):
    """Prompts of the task `shop`; the columns `prices` and `total` are what the environment `playground-shop` reads."""

    task = "shop"
