"""The event loop that connections live in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from attrs import define, field

from morl.calls import EventLoop

T = TypeVar("T")


@define(eq=False)
class LoopThread:
    """Runs coroutines of any caller in one loop, which is begun when it is first used.

    Servers send pings and drop a connection that leaves them unanswered, so connections need a loop that also runs
    while the policy samples, whoever asks.
    """

    _current: EventLoop | None = None
    _lock: threading.Lock = field(factory=threading.Lock)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaits the work, from any loop; cancelling cancels it."""
        return await asyncio.wrap_future(self._begin(work))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for the work."""
        return self._begin(work).result()

    def stop(self) -> None:
        """Ends loop and thread, and what still runs in them; it can be used again."""
        with self._lock:
            current, self._current = self._current, None
        if current is not None:
            current.close()

    def _begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if self._current is None:
                self._current = EventLoop("morl-openenv")
            return asyncio.run_coroutine_threadsafe(work, self._current.loop)
