"""What stands for a name of another trainer."""

from __future__ import annotations

from attrs import frozen


@frozen
class Row:
    """What stands for a field.

    Attributes:
        keys: of morl's config; none where the field is not offered, or where morl does it always or never.
        note: what is different, or why it is not offered.
        offered: whether what the field is for can be had.
    """

    keys: tuple[str, ...] = ()
    note: str = ""
    offered: bool = True


def same(*keys: str) -> Row:
    """The keys mean the same."""
    return Row(keys)


def differs(note: str, *keys: str) -> Row:
    """The keys stand for it, with a difference; without keys, it is so always or never."""
    return Row(keys, note)


def absent(note: str) -> Row:
    """It cannot be had."""
    return Row((), note, offered=False)
