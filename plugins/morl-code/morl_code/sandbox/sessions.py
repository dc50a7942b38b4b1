"""Sessions as the trusted side has them: Python that keeps its variables from call to call, apart from the machine."""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Callable

from attrs import define, field, frozen

from morl.errors import RewardError
from morl_code.sandbox.client import LocalSandbox, MemoryFiles

_OUTPUT, _SOURCE = 0, 1


@frozen
class CallResult:
    """What became of a call.

    Attributes:
        output: what it printed, standard error included; of much, the beginning and the end.
        done: it ran to its end without an error.
        ended: why the process is gone, and its variables with it; None while it is there.
        seconds: that count against the limits.
    """

    output: str
    done: bool
    ended: str | None
    seconds: float


class Sandboxes:
    """Sandboxes for sessions, one for each that is open; those of closed sessions are used again.

    Thread-safe.

    Args:
        start: starts a sandbox.
    """

    def __init__(self, start: Callable[[], LocalSandbox]) -> None:
        self._start = start
        self._idle: queue.SimpleQueue[LocalSandbox] = queue.SimpleQueue()
        self._process = os.getpid()
        self._end = weakref.finalize(self, _end, self._process, self._idle)

    def take(self) -> LocalSandbox:
        """One that nobody uses.

        Raises:
            RewardError: they are closed, or belong to another process.
        """
        if not self._end.alive or self._process != os.getpid():
            raise RewardError(f"the sandboxes of process {self._process} are closed, or this is another process")
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._start()

    def give_back(self, sandbox: LocalSandbox) -> None:
        """It can be used again."""
        if self._end.alive:
            self._idle.put(sandbox)
        else:
            sandbox.close()

    def close(self) -> None:
        """Ends those that nobody uses; the others end when they are given back."""
        self._end()


def _end(process: int, idle: queue.SimpleQueue[LocalSandbox]) -> None:
    while os.getpid() == process:  # not in a process that was forked from it
        try:
            idle.get_nowait().close()
        except queue.Empty:
            return


@define(eq=False)
class Session:
    """One conversation's Python.  The process starts with the first call, and anew after one that ended it.

    Calls come one after the other; `close` may come at any time, from any thread.

    Args:
        sandboxes: where its sandbox comes from.
        seed: of `random`, in the program.
        shown: bytes of a call's output that are handed on.
    """

    sandboxes: Sandboxes
    seed: int
    shown: int
    _sandbox: LocalSandbox | None = field(default=None, init=False)
    _files: MemoryFiles | None = field(default=None, init=False)
    _alive: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)
    _calling: threading.Lock = field(factory=threading.Lock, init=False)

    def call(self, source: str, wall: float) -> CallResult:
        """Runs a text.

        Args:
            source: Python.
            wall: seconds that it may take.

        Raises:
            RewardError: the sandbox failed, or the session was closed.
        """
        with self._calling:
            try:
                result = self._call(source, wall)
            except BaseException as error:
                self._drop()
                if self._closed and isinstance(error, Exception):  # whatever the end of the sandbox looks like
                    raise RewardError("the session is closed") from error
                raise
            if self._closed:
                self._drop()
            return result

    def close(self) -> None:
        """Ends the process, also in the middle of a call, which then raises.  May be called again."""
        self._closed = True
        if self._calling.acquire(blocking=False):
            try:
                self._drop(reuse=self._end_process())
            finally:
                self._calling.release()
        elif (sandbox := self._sandbox) is not None:
            sandbox.close()

    def _end_process(self) -> bool:
        """Whether the sandbox can be used again."""
        try:
            if self._sandbox is not None and self._alive:
                self._sandbox.ask({"kind": "end"}, [], 1.0)
        except RewardError:
            return False
        return True

    def _call(self, source: str, wall: float) -> CallResult:
        if self._closed:
            raise RewardError("the session is closed")
        if self._sandbox is None:
            self._sandbox = self.sandboxes.take()
            self._files = MemoryFiles("", "")
        assert self._files is not None
        self._files.write(_OUTPUT, "")
        self._files.write(_SOURCE, source)
        if not self._alive:
            self._sandbox.ask({"kind": "session", "seed": self.seed}, self._files.fds, wall)
            self._alive = True
        report = self._sandbox.ask({"kind": "call", "wall": wall}, [], wall)
        self._alive = report["alive"]
        ended = None
        if not self._alive:
            ended = self._sandbox.ending(report, wall) or f"ended with exit code {report['status']}"
        output = self._files.ends(_OUTPUT, self.shown)
        if self._files.size(_OUTPUT) >= self._sandbox.limits.output * 2**20:
            output += f"\n[more than {self._sandbox.limits.output} MiB: the rest is lost]"
        return CallResult(output, report["done"], ended, report["seconds"])

    def _drop(self, reuse: bool = False) -> None:
        if self._files is not None:
            self._files.close()
        if self._sandbox is not None and reuse:
            self.sandboxes.give_back(self._sandbox)
        elif self._sandbox is not None:
            self._sandbox.close()
        self._sandbox, self._files, self._alive = None, None, False
