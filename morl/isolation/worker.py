"""A worker process: takes arguments from its parent, one call after the other, in its main thread.

It ends with its parent, whose end of the connection closes then.  A call that outlives both its limit and its parent
is ended by `faulthandler`, whose watchdog needs no lock of the interpreter's.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import inspect
import pickle
import resource
import traceback
from multiprocessing.connection import Connection
from typing import Any

from morl.isolation.importing import import_function

_PATIENCE = 5.0
"""Seconds after its limit in which the parent ends a call itself."""


def main(descriptor: int, function: str, memory: int) -> None:
    """Serves until the parent is gone.

    Args:
        descriptor: of the connection to the parent.
        function: see `import_function`.
        memory: bytes of data that the process may hold; 0 sets no limit.
    """
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    connection = Connection(descriptor)
    with contextlib.suppress(Exception):  # an error is told to the first call
        import_function(function)
    goes_on = True
    while goes_on:
        try:
            arguments, limit = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        if limit is not None:
            faulthandler.dump_traceback_later(limit + _PATIENCE, exit=True)
        result, error = _answer(function, arguments)
        goes_on = not isinstance(error, MemoryError)  # what filled the memory may still be held
        faulthandler.cancel_dump_traceback_later()
        connection.send_bytes(_packed(result, error, goes_on))


def _answer(function: str, arguments: dict[str, Any]) -> tuple[Any, BaseException | None]:
    """What the function returned and what it raised, one of them None."""
    try:
        result = import_function(function)(**arguments)
        if inspect.isawaitable(result):
            result = asyncio.run(_awaited(result))
    except MemoryError as error:
        error.args = error.args or ("the memory limit was reached",)
        return None, error
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a function is no wish of the worker's
        return None, error
    return result, None


def _packed(result: Any, error: BaseException | None, fit: bool) -> bytes:
    """Result, error, and whether this process is fit for another call, as bytes."""
    try:
        return pickle.dumps((result, None if error is None else _portable(error), fit))
    except Exception as unsent:  # noqa: BLE001 - whatever the class of a result does while it is pickled
        return pickle.dumps((None, TypeError(f"the result cannot be sent from a worker process: {unsent}"), fit))


def _portable(error: BaseException) -> BaseException:
    """The error with its traceback as a note, or, where it cannot be sent, one that says the same."""
    text = "".join(traceback.format_exception(error)).rstrip()
    try:
        error.add_note(f"in the worker process:\n{text}")
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:  # noqa: BLE001 - whatever its class does while it is pickled
        stand_in = RuntimeError(f"{type(error).__name__}: {error}")
        stand_in.add_note(f"in the worker process:\n{text}")
        return stand_in


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
