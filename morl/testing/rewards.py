"""The conformance check of reward providers."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from morl.copies import copied
from morl.reward import RewardEntry
from morl.reward.entry import required_columns, reward_bounds, reward_names
from morl.reward.values import read_scores, within
from morl.testing.parts import held, judged, restored
from morl.types import Completion

LAWS = {
    "declared": "Its names, bounds and required columns are of the form that the contract says.",
    "form": "It answers with one number, None or exception per completion and reward, and raises on none of them.",
    "bounds": "No score lies outside the bounds that it declares.",
    "pure": "The completions and their columns are not written to.",
    "repeatable": "The same completions get the same scores again.",
    "order": "In another order the completions get the same scores.",
    "alone": "A completion gets the same score whatever stands beside it.",
    "threads": "Two calls at the same time get the same scores as one after the other.",
    "state": "What remembers something has a state of plain values, which another one takes over.",
}


def check_reward_provider(
    factory: Callable[[], Any],
    completions: Sequence[Completion],
    *,
    without: Collection[str] = (),
    rounding: float = 1e-9,
) -> None:
    """Checks a reward provider on completions of yours.

    The laws are `declared`, `form`, `bounds`, `pure`, `repeatable`, `order`, `alone`, `threads` and `state`; see
    `LAWS`.  A judge that samples is not `repeatable`; one that compares the completions of a prompt is not `alone`.

    Args:
        factory: makes the provider; an async one is run on an event loop.
        completions: two or more, with the columns that the provider needs; one with an empty text belongs to them.
        without: laws that the provider does not keep by design.
        rounding: scores that differ by less, as a share of the larger, are the same; a model in float32 needs 1e-4.

    Raises:
        LawBroken: the provider breaks a law, or raises where it should answer.
        ConfigError: a law that does not exist.
        ValueError: too few completions, or none with an empty text.
    """
    if len(completions) < 2 or all(completion.text for completion in completions):
        raise ValueError("check_reward_provider needs two or more completions, one of them with an empty text")
    for law, statement in held(LAWS, without).items():
        provider = factory()
        with judged(provider, law, statement, _table(completions)):
            _CHECKS[law](factory, provider, copied(tuple(completions)), rounding)


def _table(completions: Sequence[Completion]) -> str:
    """The completions as text, by the number that a fault names them with."""
    lines = (
        f"  {row}  {completion.text!r:.60}  {dict(completion.prompt.columns)!r:.60}"
        for row, completion in enumerate(completions)
    )
    return "\n".join(["completions, with the columns of their prompts:", *lines])


def _scores(provider: Any, completions: Sequence[Completion]) -> dict[str, list[Any]]:
    returned = provider.score(completions)
    if inspect.isawaitable(returned):
        returned = asyncio.run(_awaited(returned))
    names = reward_names("reward", RewardEntry(provider))
    several = getattr(provider, "reward_names", None) is not None
    return read_scores(names, returned, len(completions), several=several)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _declared(factory: Callable[[], Any], provider: Any, completions: Sequence[Completion], rounding: float) -> None:
    entry = RewardEntry(provider)
    reward_bounds("reward", entry, reward_names("reward", entry))
    for column in required_columns("reward", entry):
        for row, completion in enumerate(completions):
            assert column in completion.prompt.columns, f"completion {row} lacks the required column {column!r}"


def _form(factory: Callable[[], Any], provider: Any, completions: Sequence[Completion], rounding: float) -> None:
    for name, scores in _scores(provider, completions).items():
        for row, score in enumerate(scores):
            assert not isinstance(score, BaseException), f"{name} of completion {row} failed: {score!r}"


def _bounds(factory: Callable[[], Any], provider: Any, completions: Sequence[Completion], rounding: float) -> None:
    entry = RewardEntry(provider)
    bounds = reward_bounds("reward", entry, reward_names("reward", entry))
    for name, scores in _scores(provider, completions).items():
        for row, (score, checked) in enumerate(zip(scores, within(scores, bounds.get(name)), strict=True)):
            assert checked is score, f"{name} of completion {row}: {checked}"


def _pure(factory: Callable[[], Any], provider: Any, completions: Sequence[Completion], rounding: float) -> None:
    before = copied(tuple(completions))
    _scores(provider, completions)
    for row, (old, new) in enumerate(zip(before, completions, strict=True)):
        assert (old.text, old.token_ids) == (new.text, new.token_ids), f"completion {row} was written to"
        assert old.prompt.content == new.prompt.content, f"the prompt of completion {row} was written to"
        columns = dict(old.prompt.columns), dict(new.prompt.columns)
        assert repr(columns[0]) == repr(columns[1]), f"the columns of completion {row} were written to: {columns[1]}"


def _repeatable(factory: Callable[[], Any], provider: Any, completions: Sequence[Completion], rounding: float) -> None:
    _alike(_scores(provider, completions), _scores(provider, completions), "first, then", rounding)


def _order(factory: Callable[[], Any], provider: Any, completions: Sequence[Completion], rounding: float) -> None:
    backwards = _scores(provider, tuple(reversed(completions)))
    again = {name: [*reversed(scores)] for name, scores in backwards.items()}
    _alike(_scores(provider, completions), again, "in order, and backwards", rounding)


def _alone(factory: Callable[[], Any], provider: Any, completions: Sequence[Completion], rounding: float) -> None:
    single = [_scores(provider, (completion,)) for completion in completions]
    alone = {name: [scores[name][0] for scores in single] for name in single[0]}
    _alike(_scores(provider, completions), alone, "together, and one by one", rounding)


def _threads(factory: Callable[[], Any], provider: Any, completions: Sequence[Completion], rounding: float) -> None:
    expected = _scores(provider, completions)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: _scores(provider, completions), range(4)):
            _alike(expected, found, "alone, and beside another call", rounding)


def _state(factory: Callable[[], Any], provider: Any, completions: Sequence[Completion], rounding: float) -> None:
    if not hasattr(provider, "state_dict"):
        return
    _scores(provider, completions)
    other = restored(factory, provider)
    _alike(_scores(provider, completions), _scores(other, completions), "one, and another with its state", rounding)


def _alike(expected: dict[str, list[Any]], got: dict[str, list[Any]], what: str, rounding: float) -> None:
    for name, scores in expected.items():
        for row, (one, two) in enumerate(zip(scores, got[name], strict=True)):
            equal = repr(one) == repr(two) or (
                not isinstance(one, BaseException) and math.isclose(one, two, rel_tol=rounding)
            )
            assert equal, f"{what}: {name} of completion {row} is {one}, then {two}"


_CHECKS = {
    "declared": _declared,
    "form": _form,
    "bounds": _bounds,
    "pure": _pure,
    "repeatable": _repeatable,
    "order": _order,
    "alone": _alone,
    "threads": _threads,
    "state": _state,
}
