"""Names that other trainers give to a setting, so that one of them as a key is answered with morl's.

The tables are the ones that the documentation prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from morl.config.foreign import common, lightning, trl, verl
from morl.config.foreign.rows import Row

_TRL = {**trl.SCRIPT, **trl.INHERITED, **trl.OWN}
_ROOTS = {key.partition(".")[0] for key in verl.KEYS}


def hints(path: str, value: Any = None, *, usual: bool = True) -> list[str]:
    """What a key that morl does not know is called here, or where it holds a mapping, what the keys in it are.

    Args:
        path: the key.
        value: what it holds.
        usual: whether names that are no other trainer's, but usual, are looked up as well.

    >>> hints("algorithm", {"gamma": 1, "adv_estimator": "grpo", "mine": 3})[0]
    "verl's algorithm.gamma is not offered: an outcome is not discounted"
    """
    return [*dict.fromkeys(found for name in _names_in(path, value) if (found := hint(name, usual=usual)) is not None)]


def _names_in(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping) or not value:
        yield path
        return
    for key, inner in value.items():
        yield from _names_in(f"{path}.{key}", inner)


def hint(path: str, *, usual: bool = True) -> str | None:
    """What a key of another trainer is called here, in words; None for a key that none of them has.

    A dotted path is looked up among verl's keys first, then its last part among the flat names of the others, so that a
    name in a wrong section is found, too; then among the ends of verl's keys, and among names that are usual.

    >>> hint("num_generations")
    "TRL's num_generations is training.group_size"
    >>> hint("trainer.max_epochs")
    "Lightning's max_epochs is training.epochs: rounded up to whole steps"
    >>> hint("ppo_max_token_len_per_gpu")
    "verl's actor_rollout_ref.actor.ppo_max_token_len_per_gpu is training.micro_batch_tokens"
    >>> hint("prompts.prompt_column")
    'prompt_column is prompts.prompt here: the column that is the prompt'
    >>> hint("training.stepz")
    """
    found = _find(path.replace("-", "_"), usual)
    if found is None:
        return None
    whose, name, row = found
    if row is None:
        return f"{name} is {whose}'s, and nothing stands for it"
    called, here = (f"{whose}'s {name}", "") if whose else (name, " here")
    if not row.offered:
        return f"{called} is not offered: {row.note}"
    if not row.keys:
        return f"{called} is no setting: {row.note}"
    return f"{called} is {' and '.join(row.keys)}{here}{f': {row.note}' if row.note else ''}"


def _find(path: str, usual: bool) -> tuple[str, str, Row | None] | None:
    """Whose name it is (empty for everybody's), as that trainer writes it, and what stands for it."""
    head, _, last = path.rpartition(".")
    parts = path.split(".")
    if parts[0] == "rewards" and head:  # options of rewards bear all sorts of names
        row = common.SECTIONS["rewards"].get(last) or common.PART.get(last)
        return None if row is None else ("", last, _within(head, row))
    if (row := common.SECTIONS.get(head, {}).get(last)) is not None:
        return "", last, row
    for depth in range(len(parts), 0, -1):  # a row of a section stands for all of its keys
        if (row := verl.KEYS.get(".".join(parts[:depth]))) is not None:
            return "verl", path, row
    tables = [("TRL", _TRL), ("Lightning", lightning.TRAINER)]
    if head == "trainer":
        tables.reverse()
    for whose, table in tables:
        if last in table:
            return whose, last, table[last]
    if parts[0] in _ROOTS and parts[0] not in ("trainer", "reward") and head:
        return "verl", path, None
    if not usual:
        return None
    if (row := common.FLAT.get(last)) is not None:
        return "", last, row
    if head in common.CHOOSES and (row := common.PART.get(last)) is not None:
        return "", last, _within(head, row)
    if (key := _end_of(last)) is not None:
        return "verl", key, verl.KEYS[key]
    return None


def _within(head: str, row: Row) -> Row:
    return Row(tuple(f"{head}.{key}" for key in row.keys), row.note)


def _end_of(last: str) -> str | None:
    """The key of verl that ends with this name, where all that do mean the same."""
    found = [key for key in verl.KEYS if "." in key and key.rpartition(".")[2] == last]
    return found[0] if len({verl.KEYS[key].keys for key in found}) == 1 else None
