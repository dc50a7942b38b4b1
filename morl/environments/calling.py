"""Calls the user's functions from an event loop, which none of them may block."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from morl.errors import told

_log = logging.getLogger(__name__)

CLOSING = 10.0
"""Seconds that an `async` method `close` has at the end of a run."""


async def called(function: Callable[..., Any], **arguments: Any) -> Any:
    """What a function returns, `async` or not; one that is not is called in a thread."""
    if inspect.iscoroutinefunction(function):
        return await _by_itself(function(**arguments))
    result = await in_thread(partial(function, **arguments))
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


async def in_thread(function: Callable[[], Any]) -> Any:
    """What a function returns that may block, called in a thread that never keeps the interpreter from exiting."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.cancelled():  # it came too late
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:  # noqa: BLE001 - sys.exit() in a tool must not end its thread unseen
            # A future takes no StopIteration, and an event loop ends at what is no Exception.
            plain = isinstance(raised, Exception) and not isinstance(raised, StopIteration)
            error = raised if plain else RuntimeError(told(raised))
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="morl-tool", daemon=True).start()
    return await future


def closed(instance: Any) -> Awaitable[Any] | None:
    """Calls a method `close`, if there is one; what is left to be awaited."""
    close = getattr(instance, "close", None)
    result = close() if callable(close) else None
    return result if inspect.isawaitable(result) else None


def close_now(instance: Any) -> None:
    """The same to its end, whether or not an event loop is running here.

    Raises:
        TimeoutError: it takes too long, and is left behind.
    """
    closing = closed(instance)
    if closing is None:
        return
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(_awaited(closing))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            errors.append(error)

    thread = threading.Thread(target=run, name="morl-close", daemon=True)
    thread.start()
    thread.join(CLOSING)
    if thread.is_alive():
        raise TimeoutError(f"not closed within {CLOSING:g} s")
    if errors:
        raise errors[0]


def leave(instance: Any) -> threading.Thread:
    """Closes what has failed already, in a thread; what it raises is only logged."""

    def close() -> None:
        try:
            close_now(instance)
        except BaseException as error:  # noqa: BLE001 - it has failed before
            _log.warning("an environment that failed could not be closed: %s", told(error))

    thread = threading.Thread(target=close, name="morl-close", daemon=True)
    thread.start()
    return thread


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value
