"""The texts in what a config or a row of data holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def texts_in(value: Any, *, keys: bool = False) -> Iterator[str]:
    """The texts at every depth of mappings and sequences.

    Args:
        value: anything; what is no container and no text has none.
        keys: whether those of mappings count.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.items() if keys else value.values():
            yield from texts_in(inner, keys=keys)
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        for inner in value:
            yield from texts_in(inner, keys=keys)
