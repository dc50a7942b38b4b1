"""A process that confines itself, loads what programs commonly import, and forks the processes of programs and tests.

It never sees a program or a test: texts travel in anonymous files, which it passes on unread, so nothing of one case is
in the memory of the next.  The tests of a case never enter the process of the program, nor the reverse.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import random
import resource
import select
import site
import socket
import sys
from collections.abc import Callable
from typing import Any

from . import program_process, runner, session_program
from .confine import LEVELS, Level, Limits
from .process import Process
from .session import Session
from .timing import Clock

_PRELOADED = (
    "abc array bisect cmath collections copy dataclasses datetime decimal enum fractions functools "
    "hashlib heapq io itertools json math numbers operator os queue random re statistics "
    "string struct sys textwrap threading time traceback typing unicodedata "
)


def main(control_fd: int, level_name: str, limits: dict[str, Any]) -> None:
    """Serves cases until the other end of `control_fd` is closed.  Says first whether it is ready."""
    control = socket.socket(fileno=control_fd)
    os.environ.pop("LD_LIBRARY_PATH", None)  # was for this process
    level = LEVELS[level_name]()
    sys.path[:] = [os.path.realpath(path) for path in sys.path if os.path.exists(path)]
    for name in _PRELOADED.split():
        importlib.import_module(name)
    for offer in (site.setquit, site.setcopyright, site.sethelper):  # `exit`, which programs call, comes with site
        offer()
    sys.set_int_max_str_digits(0)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        level.enter()
    except OSError as error:
        control.send(json.dumps({"refused": error.strerror or str(error)}).encode())
        return
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"ready": True}).encode())
    zygote = _Zygote(control, level, Limits(**limits), null)
    while zygote.serve():
        pass


class _Zygote:
    def __init__(self, control: socket.socket, level: Level, limits: Limits, null: int) -> None:
        self._control = control
        self._level = level
        self._limits = limits
        self._null = null
        self._session: Session | None = None

    def serve(self) -> bool:
        """One request: a case, or the beginning, a call or the end of a session.  False once nobody asks any more."""
        message, fds, _, _ = socket.recv_fds(self._control, 4096, 4)
        if not message:
            self._end_session()
            return False
        request = json.loads(message)
        serve: dict[str, Callable[[dict[str, Any], list[int]], dict[str, Any]]]
        serve = {"session": self._begin_session, "call": self._call, "end": self._end_session}
        report = serve.get(request["kind"], self._case)(request, fds)
        self._control.send(json.dumps(report).encode())
        return True

    def _case(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """One case: its processes are started, watched, and gone at the end."""
        progress_read, progress_write = os.pipe()
        start = self._start_script if request["kind"] == "script" else self._start_tests
        processes = start([*fds, progress_write], request["imports"])
        clock = Clock([process.pid for process in processes], request["wall"], request["total"])
        timed_out = self._wait(processes[-1], progress_read, clock)
        for fd in (*fds, progress_read, progress_write):
            os.close(fd)
        # The tests' process goes first, or it would take the end of the program's for a result.
        ends = [process.end() for process in reversed(processes)]
        self._level.after_end()
        status, cpu, _ = ends[-1]
        broken = "; ".join(text for *_, text in ends if text)
        return {"timed_out": timed_out, "status": status, "cpu": cpu, "broken": broken, "seconds": clock.cases}

    def _begin_session(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """A process that stays until it ends, meets a limit, or is ended."""
        output, source = fds
        ours, theirs = socket.socketpair()
        seed = request["seed"]
        process = self._fork(
            lambda: session_program.serve(3, 4, seed), [self._null, output, output, source, theirs.fileno()]
        )
        theirs.close()
        for fd in fds:
            os.close(fd)
        self._session = Session(process, ours, self._control)
        return {"broken": ""}

    def _call(self, request: dict[str, Any], _: list[int]) -> dict[str, Any]:
        assert self._session is not None
        report = self._session.call(request["wall"])
        return report if report["alive"] else report | self._end_session()

    def _end_session(self, *_: Any) -> dict[str, Any]:
        if self._session is None:
            return {"broken": ""}
        status, cpu, broken = self._session.end()
        self._session = None
        self._level.after_end()
        return {"status": status, "cpu": cpu, "broken": broken}

    def _start_script(self, fds: list[int], imports: bool) -> list[Process]:
        source, stdin, stdout, stderr, _ = fds
        return [self._fork(lambda: program_process.run_script(_text(3), imports), [stdin, stdout, stderr, source])]

    def _start_tests(self, fds: list[int], imports: bool) -> list[Process]:
        source, tests, verdicts, progress = fds
        ours, theirs = (end.detach() for end in socket.socketpair())
        nothing = [self._null] * 3
        processes = [
            self._fork(lambda: program_process.serve(_text(3), 4, imports), [*nothing, source, ours]),
            self._fork(_run_tests, [*nothing, tests, theirs, verdicts, progress]),
        ]
        os.close(ours)
        os.close(theirs)
        return processes

    def _fork(self, run: Callable[[], None], fds: list[int]) -> Process:
        """Forks a confined process with `fds` as its files 0, 1, .. and no other."""
        self._level.before_fork()
        broken_read, broken_write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(broken_write)
            return Process(pid, broken_read)
        try:
            _arrange([*fds, broken_write])
            self._level.confine(self._limits)
            os.close(len(fds))
            random.seed(0)  # after the fork, which seeds at random
        except BaseException as error:  # noqa: BLE001 - never on into the program without confinement
            os.write(len(fds), f"{type(error).__name__}: {error}"[:1000].encode())
            os._exit(1)
        try:
            run()
        except BaseException:  # noqa: BLE001 - nothing of this process goes back into the zygote's loop
            os._exit(1)
        os._exit(0)

    def _wait(self, process: Process, progress: int, clock: Clock) -> bool:
        """Waits for a process to end; true if it did not within its limits.

        `progress` tells the ends of cases.  If nobody wants the result any more, that is the end of it, too.
        """
        poll = select.poll()
        poll.register(process.fd, select.POLLIN)
        poll.register(progress, select.POLLIN)
        poll.register(self._control, select.POLLHUP)
        while True:
            ready = dict(poll.poll(clock.interval() * 1000))
            if ready.get(progress, 0) & select.POLLIN:
                for _ in os.read(progress, 4096):
                    clock.next_case()
            elif process.fd in ready or self._control.fileno() in ready or clock.is_over():
                clock.end()
                return process.fd not in ready


def _arrange(fds: list[int]) -> None:
    """Makes `fds` the files 0, 1, .. of this process, and closes all others."""
    for target, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in fds]):
        os.dup2(fd, target)
    os.closerange(len(fds), resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _run_tests() -> None:
    for verdict in runner.run(4, **json.loads(_text(3))):
        os.write(5, json.dumps(verdict).encode() + b"\n")
        os.write(6, b".")


def _text(fd: int) -> str:
    with open(fd, encoding="utf-8", errors="surrogatepass", newline="") as file:
        return file.read()
