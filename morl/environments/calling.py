"""Calls the user's functions from an event loop, which none of them may block."""

from __future__ import annotations

import asyncio
import inspect
import threading
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from queue import Queue
from typing import Any, TypeAlias

from attrs import define, field

from morl.errors import RolloutError, told

Work: TypeAlias = Callable[[], Callable[[], None]]
"""Computes something that may block, and returns what hands it on."""
MOST_LEFT = 256
"""Calls past their time limit that may still be running, of all environments of the process together."""
LEAVING = 1.0
"""Seconds that a thread without work has to end."""


_left: set[object] = set()
"""One for each call that nobody waits for any more and that goes on."""


def check_left() -> None:
    """Refuses to go on where calls that nobody can stop pile up: they take threads, and may take the processor.

    Raises:
        RolloutError: there are `MOST_LEFT`.
    """
    if len(_left) >= MOST_LEFT:
        raise RolloutError(
            f"{MOST_LEFT} calls of tools still run after their time limit, and a thread cannot be stopped from outside;"
            " give what they wait for a limit of its own (e.g. the timeout of an HTTP client), write them `async`, or"
            " compute in a process that they end"
        )


def in_new_thread(work: Work) -> None:
    """Works in a thread that never keeps the interpreter from exiting."""
    threading.Thread(target=lambda: work()(), name="morl-tool", daemon=True).start()


async def called(
    function: Callable[..., Any], start: Callable[[Work], None] = in_new_thread, /, **arguments: Any
) -> Any:
    """What a function returns, `async` or not; one that is not is called where `start` begins to work."""
    if inspect.iscoroutinefunction(function):
        return await _by_itself(function(**arguments))
    result = await in_thread(partial(function, **arguments), start)
    return await _by_itself(result) if inspect.isawaitable(result) else result


async def _by_itself(awaitable: Awaitable[Any]) -> Any:
    """What it gives, in a task of its own: it may cancel itself, and nobody else."""
    try:
        return await asyncio.ensure_future(_contained(awaitable))
    except asyncio.CancelledError as raised:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError(told(raised)) from raised


async def _contained(awaitable: Awaitable[Any]) -> Any:
    """What it gives; what a function of the user's raises that would end the event loop is an error like others."""
    try:
        return await awaitable
    except (Exception, GeneratorExit, asyncio.CancelledError):
        raise
    except BaseException as raised:
        raise RuntimeError(told(raised)) from raised


async def in_thread(function: Callable[[], Any], start: Callable[[Work], None] = in_new_thread) -> Any:
    """What a function returns that may block."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.cancelled():  # it came too late
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    ended, call = False, object()

    def work() -> Callable[[], None]:
        nonlocal ended
        result, error = outcome_of(function)
        ended = True
        _left.discard(call)

        def hand_on() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, error)

        return hand_on

    start(work)
    try:
        return await future
    except asyncio.CancelledError:
        _left.add(call)
        if ended:
            _left.discard(call)
        raise


def outcome_of(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What a function returns, and what it raises, as an error that can be handed to another thread."""
    try:
        return function(), None
    except BaseException as raised:  # noqa: BLE001 - sys.exit() in a tool must not end its thread unseen
        # A future takes no StopIteration, and an event loop ends at what is no Exception.
        if isinstance(raised, Exception) and not isinstance(raised, StopIteration):
            return None, raised
        return None, RuntimeError(told(raised))


@define(eq=False)
class OwnThread:
    """A thread that does one piece of work after the other, from the first on, until `end`.

    Much must stay in the thread that made it: a connection of sqlite3, a browser of Playwright, `threading.local`.
    """

    _works: Queue[Work | None] = field(init=False, factory=Queue)
    _thread: threading.Thread | None = field(init=False, default=None)

    @property
    def busy(self) -> bool:
        """Whether something is at work, or waits."""
        return self._works.unfinished_tasks > 0

    def start(self, work: Work) -> None:
        """Works when everything before is done."""
        if self._thread is None:
            self._thread = threading.Thread(target=_serve, args=(self._works,), name="morl-instance", daemon=True)
            self._thread.start()
            # Also where nobody ends it: it holds nothing but its queue.
            weakref.finalize(self, self._works.put, None).atexit = False
        self._works.put(work)

    def end(self) -> None:
        """Ends it when everything is done; waits for that where nothing is at work."""
        thread, busy = self._thread, self.busy
        self._works.put(None)
        if thread is not None and not busy:
            thread.join(LEAVING)


def _serve(works: Queue[Work | None]) -> None:
    while (work := works.get()) is not None:
        settle = work()
        works.task_done()  # before anybody hears of it, who may look whether this is busy
        settle()
        del work, settle  # hold the user's object
