"""The conformance check of prompt sources."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from morl.errors import DataError
from morl.prompts.messages import chat_messages
from morl.testing.parts import held, judged
from morl.testing.requirements import random_states
from morl.types import Prompt

LAWS = {
    "form": "It loads one prompt or more, by row: text or chat messages, and columns by name.",
    "repeatable": "The same prompts come in the same order on every call, and from another source of the same options.",
    "random": "No global generator of random numbers is advanced.",
}
SHOWN = 200
"""Rows that are compared, from the first on, and the last one."""


def check_prompt_source(factory: Callable[[], Any], *, without: Collection[str] = ()) -> None:
    """Checks a prompt source.  The laws are `form`, `repeatable` and `random`; see `LAWS`.

    Args:
        factory: makes the source.
        without: laws that it does not keep by design.

    Raises:
        LawBroken: the source breaks a law, or raises where it should load.
        ConfigError: a law that does not exist.
    """
    for law, statement in held(LAWS, without).items():
        source = factory()
        with judged(source, law, statement):
            _CHECKS[law](factory, source)


def _rows(source: Any) -> tuple[int, list[tuple[int, Prompt]]]:
    """How many there are, and some of them."""
    prompts = source.load()
    assert isinstance(prompts, Sequence), f"load() returned {type(prompts).__name__}; expected a sequence of Prompt"
    size = len(prompts)
    return size, [(row, prompts[row]) for row in dict.fromkeys([*range(min(size, SHOWN)), *range(size)[-1:]])]


def _form(factory: Callable[[], Any], source: Any) -> None:
    size, rows = _rows(source)
    assert size > 0, "there are no prompts"
    for row, prompt in rows:
        assert isinstance(prompt, Prompt), f"row {row} is a {type(prompt).__name__}; expected a morl.types.Prompt"
        columns = prompt.columns
        assert isinstance(columns, Mapping), f"the columns of row {row} are {type(columns).__name__}"
        names = [name for name in columns if not isinstance(name, str)]
        assert not names, f"columns of row {row} are called {names}; expected texts"
        if not isinstance(prompt.content, str):
            try:
                chat_messages(prompt.content, "content", f"row {row}")
            except DataError as error:
                raise AssertionError(str(error)) from error


def _repeatable(factory: Callable[[], Any], source: Any) -> None:
    size, rows = _rows(source)
    for what, other in (("called again", source), ("from another source", factory())):
        again, other_rows = _rows(other)
        assert again == size, f"{size} prompts, {what} {again}"
        for (row, one), (_, two) in zip(rows, other_rows, strict=True):
            pair = [(prompt.content, dict(prompt.columns)) for prompt in (one, two)]
            assert repr(pair[0]) == repr(pair[1]), f"row {row} is {pair[0]!r:.200}; {what} {pair[1]!r:.200}"


def _random(factory: Callable[[], Any], source: Any) -> None:
    before = random_states()
    _rows(source)
    assert random_states() == before, "the global state of random, numpy or torch was advanced"


_CHECKS = {"form": _form, "repeatable": _repeatable, "random": _random}
