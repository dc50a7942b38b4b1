"""Processes of cells: started in a group of their own, watched, stopped with all that they started."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Protocol

from attrs import define, field, frozen

from morl.compare.cell import forked

GRACE = 20.0
"""Seconds that interrupted cells have to write a checkpoint."""
_MODULES = ("morl.training.run", "morl.compare.cell")


class Process(Protocol):
    """The leader of a cell's process group."""

    @property
    def pid(self) -> int: ...

    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        ...


class Launcher(Protocol):
    """Starts `morl` with arguments, its output appended to a log."""

    def start(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process: ...


@define
class Forks:
    """Forks cells off a process that has imported morl and the parts, which takes longer than many a small cell.

    That process has no thread but its first and has never touched a GPU, so that a fork lacks nothing.

    Attributes:
        modules: where the parts of the cells are defined.
        threads: of each cell.
    """

    modules: Iterable[str]
    threads: int
    _context: ForkServerContext = field(init=False, factory=lambda: multiprocessing.get_context("forkserver"))

    def __attrs_post_init__(self) -> None:
        self._context.set_forkserver_preload(sorted({*_MODULES, *self.modules}))
        # Pools of threads are made when libraries are loaded, and would not survive a fork.
        with _environment(dict.fromkeys(_THREADS, "1")):
            ensure_running()

    def start(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
        variables = {**dict.fromkeys(_THREADS, str(self.threads)), **environment}
        process = self._context.Process(target=forked, args=(list(arguments), log, variables, self.threads))
        process.start()
        return _Forked(process)


@frozen
class Commands:
    """Starts every cell as a command of its own, which Lightning can repeat for every rank.

    Attributes:
        threads: of each process.
    """

    threads: int

    def start(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
        variables = {**os.environ, **dict.fromkeys(_THREADS, str(self.threads)), **environment}
        command = [sys.executable, "-m", "morl.compare.cell", *arguments]
        with log.open("ab") as file:
            # Nothing is ever written to its input: that it closes tells the cell that this process is gone.
            popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,
            )
        return _Command(popen)


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@frozen
class _Forked:
    process: ForkServerProcess

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def exit_code(self) -> int | None:
        return self.process.exitcode


@frozen
class _Command:
    popen: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.popen.pid

    def exit_code(self) -> int | None:
        return self.popen.poll()


def sweep(process: Process) -> None:
    """Kills what the ended leader of a group left behind."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def stop(processes: Sequence[Process], grace: float = GRACE) -> None:
    """Ends processes and all that they started; the first `grace` seconds they may write down what they have."""
    try:
        _signal_all(processes, signal.SIGINT)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and any(process.exit_code() is None for process in processes):
            time.sleep(0.05)
    finally:  # also when the user does not want to wait
        _signal_all(processes, signal.SIGKILL)


def _signal_all(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            # It has ended, or is so young that it leads no group yet.
            if process.exit_code() is None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
