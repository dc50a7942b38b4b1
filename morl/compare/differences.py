"""Where two configs differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def first_difference(old: Any, new: Any, at: str = "") -> tuple[str, Any, Any] | None:
    """Dotted key, old and new value of the first leaf that differs; None where none does.  A key that lacks is null.

    >>> first_difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
    ('a.c', 2, 3)
    """
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return None if old == new else (at, old, new)
    for key in [*old, *(key for key in new if key not in old)]:
        found = first_difference(old.get(key), new.get(key), f"{at}.{key}" if at else str(key))
        if found is not None:
            return found
    return None
