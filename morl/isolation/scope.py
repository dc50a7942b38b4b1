"""What a call in a thread may know of itself: how long it has, and how to be told that nobody waits any more."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field

_local = threading.local()


@define(eq=False)
class Scope:
    """One call.

    Attributes:
        deadline: by `time.perf_counter`; infinity without a limit.
    """

    deadline: float = math.inf
    _callbacks: list[Callable[[], object]] = field(factory=list, init=False)
    _cancelled: bool = field(default=False, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    @classmethod
    def current(cls) -> Scope:
        """That of this thread; one without a limit where nobody made one."""
        return getattr(_local, "scope", None) or cls()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within it this thread works for the call."""
        before = getattr(_local, "scope", None)
        _local.scope = self
        try:
            yield
        finally:
            _local.scope = before

    @property
    def remaining(self) -> float | None:
        """Seconds that are left; None without a limit."""
        return None if self.deadline == math.inf else max(0.0, self.deadline - time.perf_counter())

    @property
    def can_stop(self) -> bool:
        """Whether something is going on that `cancel` stops."""
        return bool(self._callbacks)

    @contextmanager
    def on_cancel(self, stop: Callable[[], object]) -> Iterator[None]:
        """Within it `cancel`, from any thread, calls `stop`; at once where the call is cancelled already."""
        with self._lock:
            self._callbacks.append(stop)
            cancelled = self._cancelled
        if cancelled:
            stop()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(stop)

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        with self._lock:
            self._cancelled = True
            callbacks = [*self._callbacks]
        for stop in callbacks:
            stop()
