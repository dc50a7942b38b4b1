"""Runs the verifiers of reasoning-gym in a process of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from morl.errors import PluginError

_SCRIPT = Path(__file__).with_name("worker.py")


@define(eq=False)
class Verifier:
    """One process, started when it is first needed and again when an answer has ended it.

    May be used by several threads, which take turns, and on after a fork: the copy starts a process of its own.

    Args:
        time_limit: seconds of processor time per answer.
        memory_limit: MiB of address space.
    """

    time_limit: float
    memory_limit: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _owner: int = field(default=0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Verifier, (self.time_limit, self.memory_limit))

    def score(self, made_from: Mapping[str, Any], answer: str) -> float:
        """The score of an answer to the problem that is made from this.

        Raises:
            TimeoutError: it takes longer than the limit.
            RuntimeError: the process was ended by it otherwise.
            PluginError: the process cannot start, or cannot make the problem.
        """
        request = json.dumps({"made_from": dict(made_from), "answer": answer}).encode() + b"\n"
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(request)
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = b""
            if not line:
                raise self._ended(process)
        reply = json.loads(line)
        if "fault" in reply:
            raise PluginError(f"reasoning-gym: {reply['fault']}")
        return float(reply["score"])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid():
            # -P: the script's folder does not become a place to import from.
            command = [sys.executable, "-P", str(_SCRIPT), str(self.time_limit), str(self.memory_limit * 2**20)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self._owner = os.getpid()
            weakref.finalize(self, _end, self._process, self._owner)
        return self._process

    def _ended(self, process: subprocess.Popen[bytes]) -> Exception:
        """Why there is no reply; the next answer gets a new process."""
        self._process = None
        code = process.wait()
        if code == -signal.SIGPROF:
            return TimeoutError(f"verifying this answer took more than {self.time_limit:g} s of processor time")
        return RuntimeError(f"the process that verifies answers was ended by this one (exit status {code})")


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner and process.poll() is None:
        process.kill()
        process.wait()
