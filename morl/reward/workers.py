"""Runs the calls of one step side by side, each under its own time limit.

A plain call runs in a thread of its own; what it awaits runs on one event loop, which lives as long as the run, so that
clients and connections survive from step to step and can be shared by rewards.

Python cannot stop a thread.  A call that outlives its limit is left behind: its thread is a daemon, so it never keeps
the interpreter from exiting, and its late answer is ignored.  Since such threads hold memory, and maybe locks, a reward
may leave at most `MAX_ABANDONED` of them behind at a time.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any

from attrs import define, field, frozen

from morl.errors import RewardError

MAX_ABANDONED = 4
_LOOP_GRACE = 1.0
"""Seconds an event loop gets to answer before it counts as blocked."""


@frozen(eq=False)
class Outcome:
    """How a call ended.

    Attributes:
        result: what it returned.
        error: what it raised, or a `TimeoutError` of ours; None if it returned.
        seconds: that it took.
    """

    result: Any
    error: BaseException | None
    seconds: float


class Workers:
    """Threads and the event loop of one scorer."""

    def __init__(self) -> None:
        self._loop: _EventLoop | None = None
        self._abandoned: dict[str, list[threading.Thread]] = {}
        self._lock = threading.Lock()

    def run(self, calls: Mapping[str, tuple[Callable[[], Any], float | None]]) -> dict[str, Outcome]:
        """All calls at once, by name: the function and its time limit in seconds.

        Raises:
            RewardError: a call has left `MAX_ABANDONED` threads behind that are still running.
        """
        for name in calls:
            self._check_abandoned(name)
        running = {name: _Call(function, timeout, self._submit) for name, (function, timeout) in calls.items()}
        # The shortest limit first, or the wait for a patient call would lengthen the others' limits.
        by_deadline = sorted(running.items(), key=lambda item: item[1].deadline)
        try:
            return {name: call.wait() or self._abandon(name, call) for name, call in by_deadline}
        except BaseException:  # Ctrl-C in the middle of a wait
            for call in running.values():
                call.cancel()
            raise

    def close(self) -> None:
        """Stop the event loop; cancels what still runs on it."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def _submit(self, coroutine: Coroutine[Any, Any, Any]) -> tuple[_EventLoop, Future[Any]]:
        with self._lock:
            if self._loop is None:
                self._loop = _EventLoop()
            return self._loop, asyncio.run_coroutine_threadsafe(coroutine, self._loop.loop)

    def _check_abandoned(self, name: str) -> None:
        alive = [thread for thread in self._abandoned.get(name, []) if thread.is_alive()]
        self._abandoned[name] = alive
        if len(alive) >= MAX_ABANDONED:
            raise RewardError(
                f"reward {name!r}: {len(alive)} earlier calls still run after their time limit, and a thread cannot be"
                " stopped from outside; give the function a limit of its own (e.g. the timeout of its HTTP client), run"
                " its work in a subprocess, or raise the reward's `timeout`"
            )

    def _abandon(self, name: str, call: _Call) -> Outcome:
        """Gives up on a call that is past its limit."""
        call.cancel()
        stuck = call.thread if call.loop is None else None if call.loop.answers() else call.loop.thread
        message = f"no answer within {call.deadline - call.started:g} s"
        if stuck is not None:
            abandoned = self._abandoned[name]
            abandoned.append(stuck)
            message += f"; it cannot be stopped and still runs in the background ({len(abandoned)} of {MAX_ABANDONED})"
        if call.loop is not None and stuck is not None:
            message += "; the event loop that all async rewards share was blocked, by this or another async reward"
            with self._lock:
                if self._loop is call.loop:  # the next step gets a fresh one
                    self._loop = None
        return Outcome(None, TimeoutError(message), time.perf_counter() - call.started)


class _Call:
    """One running call."""

    def __init__(
        self,
        function: Callable[[], Any],
        timeout: float | None,
        submit: Callable[[Coroutine[Any, Any, Any]], tuple[_EventLoop, Future[Any]]],
    ) -> None:
        self.started = time.perf_counter()
        self.deadline = math.inf if timeout is None else self.started + timeout
        self.loop: _EventLoop | None = None
        self._pending: Future[Any] | None = None
        self._cancelled = False
        self._submit = submit
        self._finished = threading.Event()
        self._outcome: Outcome | None = None
        self.thread = threading.Thread(target=self._run, args=(function,), name="morl-reward", daemon=True)
        self.thread.start()

    def wait(self) -> Outcome | None:
        """The outcome, or None once the time limit is over."""
        remaining = max(0.0, self.deadline - time.perf_counter())
        self._finished.wait(min(remaining, threading.TIMEOUT_MAX))
        return self._outcome

    def cancel(self) -> None:
        """Cancel what is awaited; a thread at work cannot be cancelled."""
        self._cancelled = True
        if self._pending is not None:
            self._pending.cancel()

    def _run(self, function: Callable[[], Any]) -> None:
        result, error = None, None
        try:
            result = function()
            if inspect.isawaitable(result):
                self.loop, self._pending = self._submit(_awaited(result))
                if self._cancelled:  # while it was being submitted
                    self._pending.cancel()
                result = self._pending.result()
        except BaseException as raised:  # noqa: BLE001 - sys.exit() in a reward must not end its thread unseen
            error = raised
        self._outcome = Outcome(result, error, time.perf_counter() - self.started)
        self._finished.set()


@define(eq=False)
class _EventLoop:
    """An event loop in a daemon thread."""

    loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop, init=False)
    thread: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.thread = threading.Thread(target=self.loop.run_forever, name="morl-reward-loop", daemon=True)
        self.thread.start()

    def answers(self) -> bool:
        """Whether the loop turns, or some coroutine blocks it."""
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        return turned.wait(_LOOP_GRACE)

    def close(self) -> None:
        if not self.answers():
            return  # blocked: it ends with the interpreter
        asyncio.run_coroutine_threadsafe(_cancel_others(), self.loop).result(_LOOP_GRACE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(_LOOP_GRACE)
        if not self.thread.is_alive():
            self.loop.close()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_LOOP_GRACE / 2)
