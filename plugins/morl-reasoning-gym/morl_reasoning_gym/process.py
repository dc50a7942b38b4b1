"""Runs reasoning-gym in a process of its own, which makes problems and verifies answers.

Several tasks go through sets while they make a problem, so that the same seed gives other problems where Python hashes
texts otherwise, which is in every process.  This one hashes the same way always.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attrs import define, field

from morl.errors import PluginError

_SCRIPT = Path(__file__).with_name("worker.py")


@cache
def maker() -> GymProcess:
    """The process that makes the problems of all sources."""
    return GymProcess(60.0, 4096)


@define(eq=False)
class GymProcess:
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
        return (GymProcess, (self.time_limit, self.memory_limit))

    def problem(self, made_from: Mapping[str, Any]) -> tuple[str, str | None]:
        """The question of the problem that is made from this, and an answer if the task names one.

        Raises:
            PluginError: the process cannot start, or cannot make the problem.
        """
        reply = self._ask({"made_from": dict(made_from)})
        return reply["question"], reply["answer"]

    def score(self, made_from: Mapping[str, Any], answer: str) -> float:
        """The score of an answer to that problem.

        Raises:
            TimeoutError: it takes longer than the limit.
            RuntimeError: the process was ended by it otherwise.
            PluginError: as `problem`.
        """
        return float(self._ask({"made_from": dict(made_from), "answer": answer})["score"])

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = b""
            if not line:
                raise self._ended(process)
        reply: dict[str, Any] = json.loads(line)
        if "fault" in reply:
            raise PluginError(f"reasoning-gym: {reply['fault']}")
        return reply

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid():
            # -P: the script's folder does not become a place to import from.
            command = [sys.executable, "-P", str(_SCRIPT), str(self.time_limit), str(self.memory_limit * 2**20)]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
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
        return RuntimeError(f"the process of reasoning-gym was ended by this request (exit status {code})")


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner and process.poll() is None:
        process.kill()
        process.wait()
