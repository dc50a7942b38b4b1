"""Estimators and weightings that remember something, inside trainers that know nothing of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from morl.copies import copied
from morl.errors import ConfigError
from morl.states import plain_state
from morl.types import Advantages, RewardMatrix


def _parts(estimator: object) -> Iterator[tuple[str, Any]]:
    """The estimator inside conditions, and its weighting."""
    while hasattr(estimator, "inner"):
        estimator = estimator.inner
    yield "estimator", estimator
    if callable(weighting := getattr(estimator, "weighting", None)):
        yield "weighting", weighting


def check_parts(
    estimator: object,
    names: Sequence[str],
    bounds: Mapping[str, tuple[float, float]],
    weights: Mapping[str, float],
) -> None:
    """What an estimator and its weighting want checked before training.

    Raises:
        ConfigError: options that name a reward which is not there, or bounds that do not do.
    """
    for part in (estimator, *dict(_parts(estimator)).values()):
        if hasattr(part, "check_rewards"):
            part.check_rewards(names)
        if hasattr(part, "check_bounds"):
            part.check_bounds(bounds, weights)
        if getattr(part, "requires_bounds", False):
            for name in names:
                if weights.get(name, 1.0) != 0 and name not in bounds:
                    raise ConfigError(f"{type(part).__name__} needs bounds of each reward; {name!r} has none")


def check_turns(estimator: object, seam: str) -> None:
    """Refuses an estimator of turns where nobody says where turns lie.

    Raises:
        ConfigError: it needs turns.
    """
    chosen = dict(_parts(estimator))["estimator"]
    if getattr(chosen, "needs_turns", False):
        raise ConfigError(
            f"{type(chosen).__name__} gives advantages to turns, and {seam} does not say where the turns of a"
            " completion lie, nor which rewards were given for them; use an estimator of completions, such as mo-grpo,"
            " or train with morl"
        )


def adapt(estimator: object, rewards: RewardMatrix, advantages: Advantages) -> None:
    """Shows a weighting that adapts what a step of training gave, copies of its own."""
    update = getattr(dict(_parts(estimator)).get("weighting"), "update", None)
    if update is not None:
        update(copied(rewards), copied(advantages))


def state_of(estimator: object) -> dict[str, Any]:
    """What there is to remember, by part."""
    return {
        name: plain_state(part.state_dict(), f"the state of {type(part).__name__}")
        for name, part in _parts(estimator)
        if hasattr(part, "state_dict")
    }


def restore(estimator: object, state: Mapping[str, Any]) -> None:
    """Hands a state back.

    Raises:
        ConfigError: the state is not there.
    """
    for name, part in _parts(estimator):
        if hasattr(part, "state_dict"):
            if name not in state:
                raise ConfigError(f"the checkpoint has no state of the {name} {type(part).__name__}")
            part.load_state_dict(state[name])
