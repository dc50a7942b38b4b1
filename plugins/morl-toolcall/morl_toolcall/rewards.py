"""The reward providers: both rewards at once, or each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, TypeAlias

from attrs import frozen

from morl.errors import ConfigError
from morl.types import Completion
from morl_toolcall import paper, toolrl

Variant: TypeAlias = Literal["paper", "toolrl"]


@frozen
class FormatReward:
    """Whether a completion has the fields of the reference answer, in the form asked for: 0 or 1.

    Args:
        think: whether the `<think>` block is required.
        variant: the `paper`'s definition, or the released code of `toolrl`.
        ground_truth: column of the reference answer.

    Raises:
        ConfigError: an unknown variant, or `think: false` with the variant that always requires it.
    """

    think: bool = True
    variant: Variant = "paper"
    ground_truth: str = "ground_truth"

    def __attrs_post_init__(self) -> None:
        _check_variant(self.variant)
        if self.variant == "toolrl" and not self.think:
            raise ConfigError("variant 'toolrl' always requires <think>; leave out think: false, or the variant")

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (self.ground_truth,)

    def score(self, completions: Sequence[Completion]) -> list[float]:
        return [self._one(c.text, c.prompt.columns[self.ground_truth]) for c in completions]

    def _one(self, text: str, gold: str) -> float:
        if self.variant == "toolrl":
            return toolrl.format_score(text, gold)
        return paper.format_score(text, gold, think=self.think)


@frozen
class CorrectnessReward:
    """How right the calls of a completion are, from -3 to 3.

    Args:
        lenient: grade calls in whatever form they come, so that this reward does not pay for format too; otherwise a
            completion out of form scores -3.
        variant: the `paper`'s formula, or the released code of `toolrl`.
        ground_truth: column of the reference answer.

    Raises:
        ConfigError: an unknown variant, or `lenient: false` with the variant that has its own way of reading.
    """

    lenient: bool = True
    variant: Variant = "paper"
    ground_truth: str = "ground_truth"

    def __attrs_post_init__(self) -> None:
        _check_variant(self.variant)
        if self.variant == "toolrl" and not self.lenient:
            raise ConfigError("variant 'toolrl' has its own way of reading; leave out lenient: false, or the variant")

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (self.ground_truth,)

    def score(self, completions: Sequence[Completion]) -> list[float]:
        return [self._one(c.text, c.prompt.columns[self.ground_truth]) for c in completions]

    def _one(self, text: str, gold: str) -> float:
        if self.variant == "toolrl":
            return toolrl.correctness(text, gold)
        return paper.correctness(text, gold, lenient=self.lenient)


@frozen
class ToolCallReward:
    """Both rewards of one completion; the options are those of `FormatReward` and `CorrectnessReward`."""

    reward_names: ClassVar[tuple[str, ...]] = ("format", "correctness")

    think: bool = True
    lenient: bool = True
    variant: Variant = "paper"
    ground_truth: str = "ground_truth"

    def __attrs_post_init__(self) -> None:
        self._parts()  # so that contradictory options are refused now

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (self.ground_truth,)

    def score(self, completions: Sequence[Completion]) -> dict[str, list[float]]:
        return {name: part.score(completions) for name, part in self._parts().items()}

    def _parts(self) -> dict[str, FormatReward | CorrectnessReward]:
        return {
            "format": FormatReward(self.think, self.variant, self.ground_truth),
            "correctness": CorrectnessReward(self.lenient, self.variant, self.ground_truth),
        }


def _check_variant(variant: str) -> None:
    if variant not in ("paper", "toolrl"):
        raise ConfigError(f"variant must be 'paper' or 'toolrl'; got {variant!r}")
