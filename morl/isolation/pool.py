"""Calls of one function in processes of its own, which are kept from call to call and can be stopped at any point."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from attrs import define, field

from morl.isolation.scope import Scope

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[4]);"
    " from morl.isolation.worker import main; main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))"
)


class WorkerDied(RuntimeError):
    """The process of a call ended before it answered: a crash, `os._exit`, or somebody stopped it."""


@define(eq=False)
class ProcessPool:
    """Worker processes for one function.

    As many as there are calls at a time; each is started by the first call that finds none idle, serves one call after
    the other, and is replaced at once when it has ended in one: by the next call it may be ready.

    Attributes:
        function: `package.module:function` or `path/to/file.py:function`.
        memory: bytes of data that each process may hold; None sets no limit.
    """

    function: str
    memory: int | None = None
    _idle: list[_Worker] = field(factory=list, init=False)
    _workers: set[_Worker] = field(factory=set, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        # Also where nobody closes the pool: at the end of the interpreter.
        weakref.finalize(self, _kill_all, self._workers)

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """What the function returns, or the exception that it raises; stopped when this thread's `Scope` is cancelled.

        Raises:
            WorkerDied: the process ended; the next call gets another.
            TypeError: arguments that cannot be sent to another process.
        """
        try:
            request = pickle.dumps((dict(arguments), Scope.current().remaining))
        except Exception as error:
            raise TypeError(f"the arguments cannot be sent to a worker process: {error}") from error
        worker = self._take()
        try:
            with Scope.current().on_cancel(worker.kill):
                result, raised, fit = pickle.loads(worker.ask(request))
        except BaseException:
            self._replace(worker)
            raise
        if fit:
            with self._lock:
                self._idle.append(worker)
        else:
            self._replace(worker)
        if raised is not None:
            raise raised
        return result

    def close(self) -> None:
        """Ends the processes; a later call starts new ones."""
        with self._lock:
            workers = [*self._workers]
            self._workers.clear()
            self._idle.clear()
        _kill_all(workers)

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take(self) -> _Worker:
        """One that is idle and alive, or a new one."""
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.process.poll() is None:
                    return worker
                self._workers.discard(worker)
        worker = _Worker.started(self.function, self.memory)
        with self._lock:
            self._workers.add(worker)
        return worker

    def _replace(self, worker: _Worker) -> None:
        worker.kill()
        with self._lock:
            if worker not in self._workers:
                return  # the pool was closed in between
            self._workers.discard(worker)
            other = _Worker.started(self.function, self.memory)
            self._workers.add(other)
            self._idle.append(other)


@define(eq=False)
class _Worker:
    """One process and the connection to it."""

    process: subprocess.Popen[bytes]
    connection: Connection

    @classmethod
    def started(cls, function: str, memory: int | None) -> _Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(number), function, str(memory or 0), json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                pass_fds=[number],
                # A group of its own: Ctrl-C is the parent's affair, and what the function starts ends with it.
                start_new_session=True,
            )
        return cls(process, Connection(ours.detach()))

    def ask(self, request: bytes) -> bytes:
        try:
            self.connection.send_bytes(request)
            return self.connection.recv_bytes()
        except (EOFError, OSError):
            raise WorkerDied(f"the worker process {self._end()} before it answered") from None

    def kill(self) -> None:
        """Ends the process and what it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _end(self) -> str:
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"


def _kill_all(workers: set[_Worker] | list[_Worker]) -> None:
    for worker in [*workers]:
        worker.kill()
