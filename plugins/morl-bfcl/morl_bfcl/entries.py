"""The tasks of BFCL, as its own loader would hand them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from attrs import frozen

from morl.types import Message
from morl_bfcl import package
from morl_bfcl.categories import CATEGORIES, MULTI_TURN

# The rest of the documentation is the same for all languages.
_HINT = " Note that the provided function is in Python 3 syntax."


@frozen(eq=False)
class Entry:
    """One task.

    Attributes:
        id: BFCL's name of it.
        category: one of `morl_bfcl.categories.CATEGORIES`.
        turns: what the user says, turn by turn; a single-turn task has one.
        functions: documentation of the functions that may be called, in BFCL's own form.
        answer: the reference answer; of a single-turn task a list of calls, each `{name: {parameter: [allowed, ..]}}`;
            of a multi-turn task, calls as Python text, turn by turn; None where the category has no answers.
        classes: of a multi-turn task: its tool worlds.
        config: of a multi-turn task: the state that each world begins with.
        withheld: of a multi-turn task: functions that become available with a later turn, by that turn.
    """

    id: str
    category: str
    turns: Sequence[Sequence[Message]]
    functions: Sequence[Mapping[str, Any]]
    answer: Sequence[Any] | None
    classes: Sequence[str] = ()
    config: Mapping[str, Any] = {}
    withheld: Mapping[int, Sequence[Mapping[str, Any]]] = {}

    @property
    def long_context(self) -> bool:
        """Whether the worlds are filled with more than the task needs."""
        return self.category == "multi_turn_long_context"


@lru_cache(maxsize=len(CATEGORIES))
def load(category: str) -> tuple[Entry, ...]:
    """The tasks of a category, in BFCL's order.  Shared: not to be changed.

    Raises:
        PluginError: the package is not installed.
    """
    answers = package.answers(category)
    make = _conversation if category in MULTI_TURN else _question
    return tuple(make(row, category, answers.get(row["id"])) for row in package.rows(category))


def find(id: str) -> Entry:
    """The task of this id.

    Raises:
        KeyError: there is none.
        PluginError: the package is not installed.
    """
    category = id.rpartition("_")[0]
    if category not in CATEGORIES:
        raise KeyError(id)
    return _by_id(category)[id]


@lru_cache(maxsize=len(CATEGORIES))
def _by_id(category: str) -> dict[str, Entry]:
    return {entry.id: entry for entry in load(category)}


def _question(row: Mapping[str, Any], category: str, answer: Any) -> Entry:
    return Entry(row["id"], category, row["question"], [_hinted(doc) for doc in row["function"]], answer)


def _conversation(row: Mapping[str, Any], category: str, answer: Any) -> Entry:
    # Of a name that two worlds have, the first is withheld; as in BFCL, what is withheld has no hint.
    functions = [doc for name in row["involved_classes"] for doc in package.world_functions(name)]
    withheld: dict[int, list[Mapping[str, Any]]] = {}
    for turn, names in row.get("missed_function", {}).items():
        withheld[int(turn)] = []
        for name in names:
            place = next(place for place, doc in enumerate(functions) if doc["name"] == name)
            withheld[int(turn)].append(functions.pop(place))
    return Entry(
        row["id"],
        category,
        row["question"],
        [_hinted(doc) for doc in functions],
        answer,
        row["involved_classes"],
        row["initial_config"],
        withheld,
    )


def _hinted(doc: Mapping[str, Any]) -> dict[str, Any]:
    return {**doc, "description": doc["description"] + _HINT}
