"""The tasks' prompts, as prompt sources."""

from __future__ import annotations

from random import Random

from attrs import field, frozen, validators

from morl.errors import ConfigError
from morl.types import Prompt
from morl_playground.tasks import SPLITS, Split
from morl_playground.tool_calling import ToolCalling


@frozen
class ToolCallingPrompts:
    """Prompts of the tool-calling task; the column `ground_truth` is what `toolcall` rewards of morl-toolcall grade.

    Args:
        split: `train`, or `test`, which shares no prompt with it.
        size: this many prompts; default: all of the split.
        seed: of their order, and so of which ones they are if not all.

    Raises:
        ConfigError: an unknown split, or a size that the split does not have.
    """

    split: Split = "train"
    size: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ConfigError(f"split must be one of {', '.join(SPLITS)}; got {self.split!r}")
        held = len(ToolCalling().prompts(self.split))
        if self.size is not None and self.size > held:
            raise ConfigError(f"size must be at most {held}, the prompts that {self.split!r} holds; got {self.size}")

    def load(self) -> list[Prompt]:
        prompts = ToolCalling().prompts(self.split)
        return Random(self.seed).sample(prompts, self.size or len(prompts))
