"""Notes who needs the main thread: `signal.signal` works in no other, and some libraries hide that it failed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_inner: Any = signal._signal  # type: ignore[attr-defined]
"""The module in C; wrapped here, so that `from signal import signal` is noticed, too."""
_lock = threading.Lock()
_watched: dict[int, list[bool]] = {}
"""Thread -> a list that is not empty once the thread has tried to set a handler."""
_original: Any = None


@contextmanager
def noted() -> Iterator[list[bool]]:
    """A list that is not empty once this thread has tried to set a signal handler, which only the main thread can.

    The exception alone would not tell: a library that catches it goes on without its time limit, or says that nothing
    could be read.  So `signal.signal` is wrapped while anybody watches; what it does stays the same.
    """
    thread, seen = threading.get_ident(), list[bool]()
    _watch(thread, seen)
    try:
        yield seen
    finally:
        _unwatch(thread)


def _watch(thread: int, seen: list[bool]) -> None:
    global _original
    with _lock:
        _watched[thread] = seen
        if _original is None:
            _original = _inner.signal
            _inner.signal = _noting


def _unwatch(thread: int) -> None:
    global _original
    with _lock:
        del _watched[thread]
        if not _watched and _original is not None:
            _inner.signal, _original = _original, None


def _noting(number: Any, handler: Any) -> Any:
    seen = _watched.get(threading.get_ident())
    if seen is not None and threading.current_thread() is not threading.main_thread():
        seen.append(True)
    with _lock:
        original = _original or _inner.signal
    return original(number, handler)
