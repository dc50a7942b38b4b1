"""Where a reward function runs: in this process, or in worker processes."""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from attrs import define, field

from morl.errors import ConfigError, suggest
from morl.isolation import ProcessPool
from morl.isolation.importing import import_function
from morl.isolation.signals import noted

Isolate: TypeAlias = Literal["auto", "thread", "process"]

_ASYNC_CALLS, _MOST_PROCESSES = 64, 4
_MIB = 2**20
_log = logging.getLogger(__name__)


@define(eq=False)
class Runner:
    """Calls one function.

    Args:
        call: the function.
        function: where it can be imported from, or the function.
        label: what errors call it.
        isolate: see `FunctionReward`.
        memory_limit: in MiB.
        concurrency: calls at a time, None by default.

    Raises:
        ConfigError: an unknown value, a limit that is not positive or has no effect, a function that no other process
            can import.
    """

    call: Callable[..., Any]
    function: str | Callable[..., Any]
    label: str
    isolate: Isolate
    memory_limit: int | None
    concurrency: int | None
    _path: str | None = field(init=False)
    _pool: ProcessPool | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        if self.isolate not in get_args(Isolate):
            raise ConfigError(
                f"unknown isolate {self.isolate!r}{suggest(str(self.isolate), get_args(Isolate))};"
                f" choose from {', '.join(get_args(Isolate))}"
            )
        for name, value in (("memory_limit", self.memory_limit), ("concurrency", self.concurrency)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"{name} of {self.label} must be a whole number from 1, or null; got {value!r}")
        self._path = _importable(self.function)
        if self.isolate == "process":
            if self._path is None:
                raise ConfigError(
                    f"isolate: process needs a function that another process can import; {self.label} has no such"
                    " place: put it on the top level of a module or file and name that"
                )
            self._start()

    @property
    def calls_at_a_time(self) -> int:
        if self.concurrency is not None:
            return self.concurrency
        if self._pool is not None:
            return min(_MOST_PROCESSES, os.cpu_count() or 1)
        return _ASYNC_CALLS if _is_async(self.call) else 1

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        """What the function returns, maybe an awaitable of it."""
        if self._pool is not None:
            return self._pool.call(arguments)
        if self.isolate == "thread":
            return self.call(**arguments)
        error, result = None, None
        with noted() as needs_main_thread:
            try:
                result = self.call(**arguments)
            except Exception as raised:  # noqa: BLE001 - raised again below
                error = raised
        if not needs_main_thread:
            if error is not None:
                raise error
            return result
        if self._path is None:
            raise ConfigError(
                f"{self.label} sets a signal handler, as a time limit of its own does, and that needs the main thread"
                " of a process; put it on the top level of a module or file, which a worker process can import, or"
                " switch its own limit off and set the reward's `timeout`"
            ) from error
        _log.warning(
            "%s sets a signal handler, which works in the main thread of a process only: it is called in worker"
            " processes from now on (set `isolate: process` to do so from the start)",
            self.label,
        )
        return self._start().call(arguments)

    def close(self) -> None:
        """Ends the worker processes; a later call starts new ones."""
        if self._pool is not None:
            self._pool.close()

    def _start(self) -> ProcessPool:
        assert self._path is not None
        with self._lock:  # calls side by side may find at once that they need one
            if self._pool is None:
                self._pool = ProcessPool(self._path, None if self.memory_limit is None else self.memory_limit * _MIB)
            return self._pool


def _importable(function: str | Callable[..., Any]) -> str | None:
    """The path by which another process finds the function; None where there is none."""
    if isinstance(function, str):
        location, _, name = function.rpartition(":")
        # Where the working directory changes in between, the file stays the same.
        return f"{Path(location).resolve()}:{name}" if location.endswith(".py") else function
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module in (None, "__main__") or "<" in name or inspect.ismethod(function):
        return None
    path = f"{module}:{name}"
    try:
        return path if import_function(path) is function else None
    except ConfigError:
        return None


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
