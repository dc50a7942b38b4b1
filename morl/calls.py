"""Calls of foreign code, of rewards and environments: each in a thread of its own, what it awaits on an event loop.

Python cannot stop a thread.  A call that outlives its limit is left behind: its thread is a daemon, so it never keeps
the interpreter from exiting, and its late answer is ignored.  What a call awaits is cancelled, and what it does in a
worker process (`morl.isolation`) is ended with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeAlias

from attrs import define, field, frozen

from morl.isolation.scope import Scope

LOOP_GRACE = 1.0
"""Seconds an event loop gets to answer before it counts as blocked."""
STOP_GRACE = 10.0
"""Seconds a call gets to end whose work in another process has been stopped."""


@frozen(eq=False)
class Outcome:
    """How a call ended.

    Attributes:
        result: what it returned.
        error: what it raised, or a `TimeoutError` of ours; None if it returned.
    """

    result: Any
    error: BaseException | None


@define(eq=False)
class EventLoop:
    """An event loop in a daemon thread.

    Args:
        name: of the thread.

    Attributes:
        blocked: a call outlived its limit without letting the loop turn; nothing new is given to it.
    """

    name: str = "morl-reward-loop"
    loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop, init=False)
    thread: threading.Thread = field(init=False)
    blocked: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.thread = threading.Thread(target=self._turn, name=self.name, daemon=True)
        self.thread.start()

    def _turn(self) -> None:
        while True:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):  # a coroutine's, which its caller is told; others go on
                continue
            return

    def answers(self) -> bool:
        """Whether the loop turns, or some coroutine blocks it."""
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        return turned.wait(LOOP_GRACE)

    def close(self) -> None:
        """Cancels what still runs on it and stops it; if it is blocked, as soon as it turns again."""
        if self.loop.is_closed():
            return
        done = asyncio.run_coroutine_threadsafe(_cancel_others(), self.loop)
        done.add_done_callback(lambda _: self.loop.call_soon_threadsafe(self.loop.stop))
        if self.blocked:
            return
        with contextlib.suppress(TimeoutError):
            done.result(LOOP_GRACE)
        self.thread.join(LOOP_GRACE)
        if not self.thread.is_alive():
            self.loop.close()


Submit: TypeAlias = Callable[[Coroutine[Any, Any, Any]], tuple[EventLoop, "Future[Any]"]]


class Loops:
    """The event loop that calls share, which lives as long as the run, so that clients and connections survive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._current: EventLoop | None = None
        self._blocked: list[EventLoop] = []
        self._lock = threading.Lock()

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> tuple[EventLoop, Future[Any]]:
        """Runs it on the loop; on a new one where a call has blocked the last."""
        with self._lock:
            self._set_aside()
            if self._current is None:
                self._current = EventLoop(self._name)
            return self._current, asyncio.run_coroutine_threadsafe(coroutine, self._current.loop)

    def leave_blocked(self) -> None:
        """The next call gets a fresh loop, and what was begun on blocked ones ends as soon as they turn again."""
        with self._lock:
            self._set_aside()
            blocked, self._blocked = self._blocked, []
        for loop in blocked:
            loop.close()

    def close(self) -> None:
        """Cancels what still runs, and stops."""
        self.leave_blocked()
        with self._lock:
            current, self._current = self._current, None
        if current is not None:
            current.close()

    def _set_aside(self) -> None:
        if self._current is not None and self._current.blocked:
            self._blocked.append(self._current)
            self._current = None


class Call:
    """One running call.

    Args:
        function: without arguments; what it returns may be awaitable.
        timeout: seconds; None waits for ever.
        submit: gives a coroutine to an event loop.
        finished: told when the call has ended, in the call's own thread.
        name: of the thread.

    Attributes:
        outcome: None as long as it runs.
        deadline: by `time.perf_counter`.
    """

    def __init__(
        self,
        function: Callable[[], Any],
        timeout: float | None,
        submit: Submit,
        finished: Callable[[Call], object],
        name: str = "morl-reward",
    ) -> None:
        self.started = time.perf_counter()
        self.deadline = math.inf if timeout is None else self.started + timeout
        self.loop: EventLoop | None = None
        self.outcome: Outcome | None = None
        self._scope = Scope(self.deadline)
        self._pending: Future[Any] | None = None
        self._cancelled = False
        self._submit = submit
        self._finished = finished
        self.thread = threading.Thread(target=self._run, args=(function,), name=name, daemon=True)
        self.thread.start()

    def cancel(self) -> None:
        """Stop what is awaited and what works in another process; a thread at work cannot be stopped."""
        self._cancelled = True
        if self._pending is not None:
            self._pending.cancel()
        stops = self._scope.can_stop
        self._scope.cancel()
        if stops:
            self.thread.join(STOP_GRACE)

    def stuck(self) -> threading.Thread | None:
        """The thread that goes on after `cancel`; None where nothing does."""
        if self.loop is None:
            return self.thread if self.thread.is_alive() else None
        if not self.loop.blocked:
            self.loop.blocked = not self.loop.answers()
        return self.loop.thread if self.loop.blocked else None

    def _run(self, function: Callable[[], Any]) -> None:
        result, error = None, None
        try:
            with self._scope.entered():
                result = function()
            if inspect.isawaitable(result):
                # As it is where it can be: a wrapper that is cancelled before it begins leaves it never awaited.
                self.loop, self._pending = self._submit(result if inspect.iscoroutine(result) else _awaited(result))
                if self._cancelled:  # while it was being submitted
                    self._pending.cancel()
                result = self._pending.result()
        except BaseException as raised:  # noqa: BLE001 - sys.exit() in a reward must not end its thread unseen
            error = raised
        self.outcome = Outcome(result, error)
        self._finished(self)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=LOOP_GRACE / 2)
