"""Reads what a provider returned: numbers, missing values, failures of single completions; refuses the rest.

A list of another length, or no list, breaks the contract: nobody knows which completion its values belong to.  A value
that is no score, in a list of the right length, concerns its completion alone and is the failure of that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, TypeAlias

from morl.errors import RewardError, suggest
from morl.types import Completion

_ROUNDING = 1e-6
"""Of a score that was computed in float32, relative to the larger bound."""

Score: TypeAlias = float | BaseException
"""A score, NaN where the reward does not apply, or the exception with which it failed."""


def read_scores(names: Sequence[str], returned: object, count: int, *, several: bool) -> dict[str, list[Score]]:
    """The scores of one provider by reward name, one per completion.

    Args:
        names: of the rewards that the provider returns.
        returned: what its `score` returned.
        count: of the completions that it was given.
        several: the provider announced `reward_names`, so that it must return a mapping.

    Raises:
        RewardError: anything but one value per completion; the message names the reward.
    """
    if not several:
        if isinstance(returned, Mapping):
            raise RewardError(
                f"reward {names[0]!r} returned a mapping with the keys {_keys(returned)}; a provider of several rewards"
                " must announce them in `reward_names`"
            )
        return {names[0]: _column(names[0], returned, count)}
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
    return {name: _column(name, returned[name], count) for name in names}


class NoScoreError(ValueError):
    """A value in place of a score that is none."""


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


def _column(name: str, returned: Any, count: int) -> list[Score]:
    if hasattr(returned, "tolist"):  # torch, numpy, pandas
        shape = tuple(returned.shape)
        if len(shape) != 1:
            raise RewardError(
                f"reward {name!r} must return one score per completion, shape ({count},); got shape {shape}"
            )
        returned = returned.tolist()
    if not isinstance(returned, Sequence) or isinstance(returned, (str, bytes)):
        raise RewardError(
            f"reward {name!r} must return a list with one score per completion; got {type(returned).__name__}"
        )
    if len(returned) != count:
        raise RewardError(f"reward {name!r} returned {len(returned)} scores for {count} completions")
    return [_score(value) for value in returned]


def _score(value: Any) -> Score:
    if value is None:
        return math.nan
    if isinstance(value, BaseException):
        return value
    if getattr(value, "shape", None) in ((), (1,)):  # a numpy or torch scalar, or a tensor of one element
        value = value.item()
    if not isinstance(value, Real | Decimal):
        return NoScoreError(
            f"a score is a number, or None where the reward does not apply; got {value!r:.80} ({type(value).__name__})"
        )
    try:
        score = float(value)
    except (OverflowError, ValueError) as error:
        return NoScoreError(f"a score must be a finite number; got one that no float can hold: {error}")
    return NoScoreError(f"a score must be a finite number; got {score}") if math.isinf(score) else score


def _keys(mapping: Mapping[Any, Any]) -> str:
    return ", ".join(repr(key) for key in mapping) or "nothing"
