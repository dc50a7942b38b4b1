"""Objects of the user's class: made, called and closed, what is not `async` of each in one thread."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from attrs import field, frozen

from morl.environments.calling import OwnThread, called, in_new_thread, outcome_of
from morl.errors import told

_log = logging.getLogger(__name__)

CLOSING = 10.0
"""Seconds that a method `close` has."""


def _close_here(value: Any) -> None:
    """Closes what nobody waits for any more."""
    try:
        close = getattr(value, "close", None)
        result = close() if callable(close) else None
        if inspect.isawaitable(result):
            asyncio.run(_awaited(result))
    except BaseException as error:  # noqa: BLE001 - it is lost anyway
        _log.warning("an environment that was made too late could not be closed: %s", told(error))


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


@frozen(eq=False)
class Instance:
    """An object, and the thread that its methods are called in.

    Attributes:
        value: the object.
    """

    value: Any
    _thread: OwnThread = field(repr=False)

    @classmethod
    async def made(cls, make: Callable[[], Any]) -> Instance:
        """What a class or function makes, in the thread of the instance; what comes too late is closed there."""
        thread, lock = OwnThread(), threading.Lock()
        late, value = False, None

        def make_in_time() -> Any:
            nonlocal value
            made = make()
            with lock:
                value, too_late = made, late
            if too_late:
                _close_here(made)
            return made

        try:
            return cls(await called(make_in_time, thread.start), thread)
        except BaseException:
            with lock:
                late, found = True, value
            if found is not None:
                cls(found, thread).leave()
            thread.end()
            raise

    @classmethod
    def made_now(cls, make: Callable[[], Any]) -> Instance:
        """The same, whether or not an event loop is running here."""
        thread, made = OwnThread(), Future[Any]()

        def work() -> Callable[[], None]:
            value, error = outcome_of(make)
            return lambda: made.set_result(value) if error is None else made.set_exception(error)

        thread.start(work)
        return cls(made.result(), thread)

    async def call(self, method: Callable[..., Any], /, **arguments: Any) -> Any:
        """What a method of the object returns."""
        return await called(method, self._thread.start, **arguments)

    async def close(self) -> None:
        """Calls its method `close`, if there is one, and ends the thread."""
        close = getattr(self.value, "close", None)
        try:
            if callable(close):  # beside a call that does not come back
                await called(close, in_new_thread if self._thread.busy else self._thread.start)
        finally:
            self._thread.end()

    def close_now(self) -> None:
        """The same to its end, whether or not an event loop is running here.

        Raises:
            TimeoutError: it takes too long, and is left behind.
        """
        errors: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(self.close())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                errors.append(error)

        thread = threading.Thread(target=run, name="morl-close", daemon=True)
        thread.start()
        thread.join(CLOSING)
        if thread.is_alive():
            raise TimeoutError(f"not closed within {CLOSING:g} s")
        if errors:
            raise errors[0]

    def leave(self) -> threading.Thread:
        """Closes what has failed already, in a thread; what it raises is only logged."""

        def close() -> None:
            try:
                self.close_now()
            except BaseException as error:  # noqa: BLE001 - it has failed before
                _log.warning("an environment that failed could not be closed: %s", told(error))

        thread = threading.Thread(target=close, name="morl-close", daemon=True)
        thread.start()
        return thread
