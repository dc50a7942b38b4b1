"""The reward providers: format, correctness and surplus calls, each by itself or the first two at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ClassVar, Literal, TypeAlias, get_args

from attrs import asdict, field, fields_dict, frozen

from morl.errors import ConfigError, suggest
from morl.types import Completion
from morl_toolcall import grading, toolrl
from morl_toolcall.calls import CallForm, call_forms
from morl_toolcall.values import Tolerance, Tolerated

Variant: TypeAlias = Literal["precise", "paper", "toolrl"]

_OWN_READING = "has its own way of reading"


class _Provider:
    """What the providers share: how they check their options, and how they are given text and reference answer."""

    variant: Variant
    ground_truth: str
    opened_by_prompt: bool
    call_forms: Sequence[CallForm]
    chat_markers: toolrl.ChatMarkers | None

    def __attrs_post_init__(self) -> None:
        _check_choice("variant", self.variant, get_args(Variant))
        call_forms(self.call_forms)
        if self.chat_markers is not None:
            _check_choice("chat_markers", self.chat_markers, get_args(toolrl.ChatMarkers))
            if self.variant != "toolrl":
                raise ConfigError("chat_markers belongs to variant 'toolrl'; leave it out, or set the variant")
        if self.variant == "toolrl":
            for option, at_default, why in self._not_of_toolrl():
                if not at_default:
                    raise ConfigError(f"variant 'toolrl' {why}; leave out {option}, or the variant")

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (self.ground_truth,)

    def _not_of_toolrl(self) -> Iterable[tuple[str, bool, str]]:
        """Options that the variant does not have: the name, whether it is at its default, and why there is none."""
        yield "call_forms", not self.call_forms, _OWN_READING

    def _grades(self, grade: Callable[[str, str], float], completions: Sequence[Completion]) -> list[float]:
        opening = "<think>" if self.opened_by_prompt else ""
        return [grade(opening + c.text, c.prompt.columns[self.ground_truth]) for c in completions]

    def _released(self, grade: Callable[..., float]) -> Callable[[str, str], float]:
        return partial(grade, chat_markers=self.chat_markers or "qwen")


@frozen
class FormatReward(_Provider):
    """Whether a completion has the fields of the reference answer, in the form asked for: 0 or 1.

    Args:
        think: whether the `<think>` block is required.
        variant: the released code of `toolrl`; the two others have one and the same form.
        ground_truth: column of the reference answer.
        opened_by_prompt: the prompt ends with `<think>`, so a completion begins within its thinking.
        call_forms: in which calls may be written besides `{"name": .., "parameters": {..}}`: with `arguments`, with
            parameters as `json-text`, in `function-tags`.
        chat_markers: of `toolrl`, which cuts the answer out of a chat in the template of `qwen` or `llama`; `keep` cuts
            nothing.  null is `qwen`.

    Raises:
        ConfigError: an unknown name, or an option that the variant does not have.
    """

    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    think: bool = True
    variant: Variant = "precise"
    ground_truth: str = "ground_truth"
    opened_by_prompt: bool = False
    call_forms: Sequence[CallForm] = ()
    chat_markers: toolrl.ChatMarkers | None = None

    def score(self, completions: Sequence[Completion]) -> list[float]:
        if self.variant == "toolrl":
            return self._grades(self._released(toolrl.format_score), completions)
        grade = partial(grading.format_score, think=self.think, forms=call_forms(self.call_forms))
        return self._grades(grade, completions)

    def _not_of_toolrl(self) -> Iterable[tuple[str, bool, str]]:
        return [*_Provider._not_of_toolrl(self), ("think: false", self.think, "always requires <think>")]


@frozen
class CorrectnessReward(_Provider):
    """How right the calls of a completion are, from -3 to 3.

    Args:
        lenient: grade calls in whatever form they come, so that this reward does not pay for format too; otherwise a
            completion out of form scores -3.
        variant: the formula: `precise`, in which surplus calls and parameters lower the score, the `paper`'s, in which
            surplus calls of a wanted tool are free, or the released code of `toolrl`.
        ground_truth: column of the reference answer.
        opened_by_prompt: the prompt ends with `<think>`, so a completion begins within its thinking.
        call_forms: in which calls may be written besides `{"name": .., "parameters": {..}}`: with `arguments`, with
            parameters as `json-text`, in `function-tags`.
        tolerate: differences between values that do not count: `case`, white `space`, and `json-text`, by which "5" is
            5.
        number_error: numbers are equal up to this share of the larger one.
        chat_markers: of `toolrl`, which cuts the answer out of a chat in the template of `qwen` or `llama`; `keep` cuts
            nothing.  null is `qwen`.

    Raises:
        ConfigError: an unknown name, or an option that the variant does not have.
    """

    reward_bounds: ClassVar[tuple[float, float]] = (-3.0, 3.0)

    lenient: bool = True
    variant: Variant = "precise"
    ground_truth: str = "ground_truth"
    opened_by_prompt: bool = False
    call_forms: Sequence[CallForm] = ()
    tolerate: Sequence[Tolerated] = ()
    number_error: float = 0.0
    chat_markers: toolrl.ChatMarkers | None = None
    _tolerance: Tolerance = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_tolerance", Tolerance(tuple(self.tolerate), self.number_error))
        _Provider.__attrs_post_init__(self)

    def score(self, completions: Sequence[Completion]) -> list[float]:
        if self.variant == "toolrl":
            return self._grades(self._released(toolrl.correctness), completions)
        grade = partial(
            grading.correctness,
            lenient=self.lenient,
            variant=self.variant,
            forms=call_forms(self.call_forms),
            tolerance=self._tolerance,
        )
        return self._grades(grade, completions)

    def _not_of_toolrl(self) -> Iterable[tuple[str, bool, str]]:
        return [
            *_Provider._not_of_toolrl(self),
            ("lenient: false", self.lenient, _OWN_READING),
            ("tolerate", not self.tolerate, "compares values as Python does"),
            ("number_error", not self.number_error, "compares values as Python does"),
        ]


@frozen
class SurplusReward(_Provider):
    """Minus the number of calls beyond those of the reference answer, tool by tool; 0 is the best.

    With weight 0 it is a metric and no reward: its mean is logged, and nothing is learned from it.

    Args:
        lenient: as for correctness; calls that it does not read are not counted here either.
        variant: `toolrl` reads calls as the released code does; to the two others it makes no difference.
        ground_truth: column of the reference answer.
        opened_by_prompt: the prompt ends with `<think>`, so a completion begins within its thinking.
        call_forms: in which calls may be written besides `{"name": .., "parameters": {..}}`: with `arguments`, with
            parameters as `json-text`, in `function-tags`.
        chat_markers: of `toolrl`, which cuts the answer out of a chat in the template of `qwen` or `llama`; `keep` cuts
            nothing.  null is `qwen`.

    Raises:
        ConfigError: an unknown name, or an option that the variant does not have.
    """

    lenient: bool = True
    variant: Variant = "precise"
    ground_truth: str = "ground_truth"
    opened_by_prompt: bool = False
    call_forms: Sequence[CallForm] = ()
    chat_markers: toolrl.ChatMarkers | None = None

    def score(self, completions: Sequence[Completion]) -> list[float]:
        if self.variant == "toolrl":
            grade = self._released(toolrl.surplus)
        else:
            grade = partial(grading.surplus, lenient=self.lenient, forms=call_forms(self.call_forms))
        return [0.0 - count for count in self._grades(grade, completions)]

    def _not_of_toolrl(self) -> Iterable[tuple[str, bool, str]]:
        return [*_Provider._not_of_toolrl(self), ("lenient: false", self.lenient, _OWN_READING)]


@frozen
class ToolCallReward:
    """Format and correctness of one completion; the options are those of `FormatReward` and `CorrectnessReward`."""

    reward_names: ClassVar[tuple[str, ...]] = ("format", "correctness")
    reward_bounds: ClassVar[dict[str, tuple[float, float]]] = {"format": (0.0, 1.0), "correctness": (-3.0, 3.0)}

    think: bool = True
    lenient: bool = True
    variant: Variant = "precise"
    ground_truth: str = "ground_truth"
    opened_by_prompt: bool = False
    call_forms: Sequence[CallForm] = ()
    tolerate: Sequence[Tolerated] = ()
    number_error: float = 0.0
    chat_markers: toolrl.ChatMarkers | None = None

    def __attrs_post_init__(self) -> None:
        self._parts()  # so that contradictory options are refused now

    @property
    def required_columns(self) -> tuple[str, ...]:
        return (self.ground_truth,)

    def score(self, completions: Sequence[Completion]) -> dict[str, list[float]]:
        return {name: part.score(completions) for name, part in self._parts().items()}

    def _parts(self) -> dict[str, FormatReward | CorrectnessReward]:
        options = asdict(self, recurse=False)
        return {
            name: part(**{key: value for key, value in options.items() if key in fields_dict(part)})
            for name, part in (("format", FormatReward), ("correctness", CorrectnessReward))
        }


def _check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        wanted = ", ".join(map(repr, choices[:-1])) + f" or {choices[-1]!r}"
        raise ConfigError(f"{option} must be {wanted}; got {value!r}{suggest(str(value), choices)}")
