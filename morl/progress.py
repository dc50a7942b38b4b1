"""What a command says of itself while it works: that it has begun, what it is at, how far it is.  Loads nothing.

On a terminal and without one alike, on stderr, so that what a command prints for machines stays as it is; of several
ranks the first speaks.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY, SOONEST = 30.0, 5.0
"""Seconds between two lines of work that takes long: at most, and at least where a tenth of it is done."""

_note: str = ""


def speaks() -> bool:
    """Whether this process is the first of its run, as the environment says it before the ranks have met."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))


def say(text: str, *, wanted: bool = True) -> None:
    """One line, with the time of day."""
    if wanted and speaks():
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """What work under way is at, for its next line; may be called as often as one likes."""
    global _note
    _note = text


@contextmanager
def working(
    title: str, total: int, unit: str = "prompts", *, wanted: bool = True, every: float = EVERY
) -> Iterator[Callable[[int], None]]:
    """Says what begins, how far it is now and then, and that it is done; gives the function that counts.

    Args:
        title: of the work.
        total: how much there is.
        unit: of it.
        wanted: False says nothing.
        every: seconds between two lines at most.
    """
    if not (wanted and speaks()):
        yield lambda count: None
        return
    started, lock, over = time.monotonic(), threading.Lock(), threading.Event()
    done, shown, last = 0, 0, started
    note("")
    say(title)

    def line() -> None:
        nonlocal shown, last
        shown, last = done, time.monotonic()
        at = f", {_note}" if _note else ""
        say(f"  {done} of {total} {unit} after {_span(time.monotonic() - started)}{at}")

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            if done < total and (done - shown) * 10 >= total and time.monotonic() - last >= min(every, SOONEST):
                line()

    def watch() -> None:
        while not over.wait(every):
            with lock:
                line()

    thread = threading.Thread(target=watch, name="morl-progress", daemon=True)
    thread.start()
    try:
        yield advance
        say(f"  done: {done} {unit} in {_span(time.monotonic() - started)}")
    finally:
        over.set()
        thread.join()
        note("")


def _span(seconds: float) -> str:
    """Minutes and seconds.

    >>> _span(75.2)
    '1:15'
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
