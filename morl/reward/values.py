"""Reads what a provider returned: numbers, missing values, failures of single completions; refuses the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

from morl.errors import RewardError, suggest
from morl.types import Completion

_ROUNDING = 1e-6
"""Of a score that was computed in float32, relative to the larger bound."""

Score: TypeAlias = float | BaseException
"""A score, NaN where the reward does not apply, or the exception with which it failed."""


def read_scores(
    names: Sequence[str], returned: object, completions: Sequence[Completion], *, several: bool
) -> dict[str, list[Score]]:
    """The scores of one provider by reward name, one per completion.

    Args:
        names: of the rewards that the provider returns.
        returned: what its `score` returned.
        completions: that it was given.
        several: the provider announced `reward_names`, so that it must return a mapping.

    Raises:
        RewardError: anything but one number, None or exception per completion; the message names the reward.
    """
    if not several:
        if isinstance(returned, Mapping):
            raise RewardError(
                f"reward {names[0]!r} returned a mapping with the keys {_keys(returned)}; a provider of several rewards"
                " must announce them in `reward_names`"
            )
        return {names[0]: _column(names[0], returned, completions)}
    if not isinstance(returned, Mapping):
        raise RewardError(
            f"the provider of the rewards {', '.join(names)} must return a mapping from these names to scores;"
            f" got {type(returned).__name__}"
        )
    for name in names:
        if name not in returned:
            raise RewardError(f"reward {name!r} is missing from what its provider returned: {_keys(returned)}")
    for name in returned:
        if name not in names:
            raise RewardError(
                f"a provider returned a reward {name!r} that it does not announce{suggest(str(name), names)};"
                f" its `reward_names` are {', '.join(names)}"
            )
    return {name: _column(name, returned[name], completions) for name in names}


class OutOfBoundsError(ValueError):
    """A score outside the bounds that its reward declares."""


def within(scores: list[Score], bounds: tuple[float, float] | None) -> list[Score]:
    """The scores, with a failure in place of each that lies outside the bounds by more than rounding."""
    if bounds is None:
        return scores
    low, high = bounds
    slack = _ROUNDING * max(abs(low), abs(high))

    def checked(score: Score) -> Score:
        if isinstance(score, float) and not math.isnan(score) and not low - slack <= score <= high + slack:
            return OutOfBoundsError(f"the score {score} is outside the bounds [{low}, {high}]")
        return score

    return [checked(score) for score in scores]


def excerpt(completion: Completion, characters: int = 80) -> str:
    """The text of a completion, quoted, cut in the middle if it is long."""
    text = completion.text
    if len(text) > characters:
        text = f"{text[: characters // 2]} ... {text[-(characters // 2) :]}"
    return repr(text)


def _column(name: str, returned: Any, completions: Sequence[Completion]) -> list[Score]:
    if hasattr(returned, "tolist"):  # torch, numpy, pandas
        shape = tuple(returned.shape)
        if len(shape) != 1:
            raise RewardError(
                f"reward {name!r} must return one score per completion, shape ({len(completions)},); got shape {shape}"
            )
        returned = returned.tolist()
    if not isinstance(returned, Sequence) or isinstance(returned, (str, bytes)):
        raise RewardError(
            f"reward {name!r} must return a list with one score per completion; got {type(returned).__name__}"
        )
    if len(returned) != len(completions):
        raise RewardError(f"reward {name!r} returned {len(returned)} scores for {len(completions)} completions")
    return [_score(name, value, row, completions[row]) for row, value in enumerate(returned)]


def _score(name: str, value: Any, row: int, completion: Completion) -> Score:
    if value is None:
        return math.nan
    if isinstance(value, BaseException):
        return value
    if getattr(value, "shape", None) == ():  # a numpy or torch scalar
        value = value.item()
    if not isinstance(value, Real):
        raise RewardError(
            f"reward {name!r} gave completion {row} {value!r} ({type(value).__name__}); a score is a number, or None"
            f" where the reward does not apply; the completion: {excerpt(completion)}"
        )
    score = float(value)
    if math.isinf(score):
        raise RewardError(
            f"reward {name!r} gave completion {row} {score}; scores must be finite (None where the reward does not"
            f" apply); the completion: {excerpt(completion)}"
        )
    return score


def _keys(mapping: Mapping[Any, Any]) -> str:
    return ", ".join(repr(key) for key in mapping) or "nothing"
