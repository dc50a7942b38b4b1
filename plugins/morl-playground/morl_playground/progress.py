"""Tells on stderr that a policy is being made, for it takes a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console


@contextmanager
def announced(what: str, kept: object, steps: int) -> Iterator[Callable[[int, float, Any], None]]:
    """A callback for `sft_initialised` that shows how far it is; what is made and where it is kept is said at once."""
    console = Console(stderr=True)
    console.print(f"playground: warming up a policy for {what!r}, once; it will be kept in {kept}")
    with console.status("warming up") as status:
        yield lambda step, loss, _: status.update(f"step {step} of {steps}, loss {loss:.2f}")
