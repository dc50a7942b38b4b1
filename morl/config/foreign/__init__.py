"""Names that other trainers give to a setting, so that one of them as a key is answered with morl's.

The tables are the ones that the documentation prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from morl.config.foreign import lightning, trl, verl
from morl.config.foreign.rows import Row

_TRL = {**trl.SCRIPT, **trl.INHERITED, **trl.OWN}
_ROOTS = {key.partition(".")[0] for key in verl.KEYS}


def hints(path: str, value: Any = None) -> list[str]:
    """What a key that morl does not know is called here, or where it holds a mapping, what the keys in it are.

    >>> hints("algorithm", {"gamma": 1, "adv_estimator": "grpo", "mine": 3})[0]
    "verl's algorithm.gamma is not offered: an outcome is not discounted"
    """
    return [*dict.fromkeys(found for name in _names_in(path, value) if (found := hint(name)) is not None)]


def _names_in(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping) or not value:
        yield path
        return
    for key, inner in value.items():
        yield from _names_in(f"{path}.{key}", inner)


def hint(path: str) -> str | None:
    """What a key of another trainer is called here, in words; None for a key that none of them has.

    A dotted path is looked up among verl's keys first, then its last part among the flat names of the others, so that a
    name in a wrong section is found, too.

    >>> hint("num_generations")
    "TRL's num_generations is training.group_size"
    >>> hint("trainer.max_epochs")
    "Lightning's max_epochs is training.epochs: rounded up to whole steps"
    >>> hint("training.stepz")
    """
    found = _find(path.replace("-", "_"))
    if found is None:
        return None
    whose, name, row = found
    if row is None:
        return f"{name} is {whose}'s, and nothing stands for it"
    if not row.offered:
        return f"{whose}'s {name} is not offered: {row.note}"
    if not row.keys:
        return f"{whose}'s {name} is no setting: {row.note}"
    return f"{whose}'s {name} is {' and '.join(row.keys)}{f': {row.note}' if row.note else ''}"


def _find(path: str) -> tuple[str, str, Row | None] | None:
    """Whose name it is, as that trainer writes it, and what stands for it."""
    head, _, last = path.rpartition(".")
    parts = path.split(".")
    for depth in range(len(parts), 0, -1):  # a row of a section stands for all of its keys
        if (row := verl.KEYS.get(".".join(parts[:depth]))) is not None:
            return "verl", path, row
    tables = [("TRL", _TRL), ("Lightning", lightning.TRAINER)]
    if head == "trainer":
        tables.reverse()
    for whose, table in tables:
        if last in table:
            return whose, last, table[last]
    return ("verl", path, None) if parts[0] in _ROOTS and parts[0] not in ("trainer", "reward") else None
