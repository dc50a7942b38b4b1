"""One worker process: plain child processes that run one script, neither forks of the trainer (which has threads and
maybe CUDA) nor copies of its main module.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TypeAlias

from morl.errors import PluginError

Pair: TypeAlias = tuple[str, str]
"""Reference and answer, as they were written."""

_SCRIPT = Path(__file__).with_name("worker.py")
_START_LIMIT = 120.0
"""Seconds a worker may take to start, on a machine that does much else."""
_PATIENCE = 10.0
"""A worker limits its own processor time; after this many times as much by the clock it is given up."""
_OWN_FAULT = {"SIGPROF", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"}
"""Signals by which an expression ends the process that reads it: too long, or too deep."""


class UnreadableReference(ValueError):
    """A reference answer that cannot be read."""


class ReferenceTimeout(TimeoutError):
    """A reference answer that takes too long to read."""


class NotReady(Exception):
    """The worker has not started yet."""


class Worker:
    """One child process, which starts while other work goes on."""

    def __init__(self, memory_limit: int) -> None:
        # -P: the script's folder does not become a place to import from.
        self._command = [sys.executable, "-P", str(_SCRIPT), str(memory_limit * 2**20)]
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._buffer = b""
        self._ready = False
        self._start_by = time.monotonic() + _START_LIMIT

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def compare(self, pair: Pair, seconds: float, deadline: float) -> bool:
        """Whether the two are equal.

        Args:
            pair: reference and answer.
            seconds: processor time that each of the two may take.
            deadline: by `time.monotonic`; a worker that is not done by then is closed.

        Raises:
            UnreadableReference, TimeoutError, RuntimeError: why it is not known whether they are.
            NotReady: the worker had not started by the deadline.
            PluginError: it cannot start.
        """
        self._wait_until_ready(deadline)
        assert self._process.stdin is not None
        about = f"the answer {pair[1]!r:.200} could not be compared with {pair[0]!r:.200}"
        until = min(deadline, time.monotonic() + _PATIENCE * seconds)
        reads = "reference"
        try:
            self._process.stdin.write(json.dumps([*pair, seconds]).encode() + b"\n")
            self._process.stdin.flush()
            message = self._message(until)
            if message == "reference":
                reads = "answer"
                message = self._message(until)
        except TimeoutError:
            self.close()
            raise TimeoutError(f"{about} within {seconds:g} s") from None
        except (EOFError, BrokenPipeError):
            self.close()
            raise RuntimeError(f"{about}: its process ended with exit code {self._process.returncode}") from None
        _, ended, by = message.partition("ended by ")
        if ended and by not in _OWN_FAULT:
            raise RuntimeError(f"{about}: its process was ended by {by}")
        if message == "unreadable reference" or (ended and reads == "reference" and by != "SIGPROF"):
            raise UnreadableReference(f"math-verify cannot read the reference answer {pair[0]!r:.200}")
        if ended and reads == "reference":
            raise ReferenceTimeout(f"the reference answer {pair[0]!r:.200} could not be read within {seconds:g} s")
        if ended:
            raise TimeoutError(f"{about} within {seconds:g} s")
        return message == "equal"

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()

    def _wait_until_ready(self, deadline: float) -> None:
        if self._ready:
            return
        try:
            greeting = self._message(min(deadline, self._start_by))
        except TimeoutError:
            if time.monotonic() < self._start_by:
                raise NotReady from None
            greeting = f"cannot start: it was not ready within {_START_LIMIT:g} s"
        except EOFError:
            greeting = f"cannot start: it ended with exit code {self._process.returncode}"
        if greeting != "ready":
            self.close()
            raise PluginError(f"the process for math-verify {greeting}; its command: {shlex.join(self._command)}")
        self._ready = True

    def _message(self, deadline: float) -> str:
        """The next message.

        Raises:
            EOFError: the process ended.
            TimeoutError: no message until then.
        """
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        ready = select.poll()
        ready.register(output, select.POLLIN)
        while b"\n" not in self._buffer:
            if not ready.poll(1000 * max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            received = os.read(output, 65536)
            if not received:
                self._process.wait()
                raise EOFError
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        return str(json.loads(line))
