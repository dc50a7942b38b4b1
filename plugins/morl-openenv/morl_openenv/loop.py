"""An event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class LoopThread:
    """Runs coroutines of any caller in one loop, which is begun when it is first used.

    Servers send pings and drop a connection that leaves them unanswered, so connections need a loop that also runs
    while the policy samples.
    """

    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(factory=threading.Lock)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaits the work, from any loop; cancelling cancels it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._running()))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for the work."""
        return asyncio.run_coroutine_threadsafe(work, self._running()).result()

    def stop(self) -> None:
        """Ends loop and thread, and what still runs in them; it can be used again."""
        with self._lock:
            if self._loop is not None and self._thread is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
            self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_work, args=(self._loop,), name="morl-openenv", daemon=True)
                self._thread.start()
            return self._loop


def _work(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    with asyncio.Runner(loop_factory=lambda: loop):
        pass  # leaving cancels what is left, and closes the loop
