"""The trusted side of a zygote: starts it, hands it cases, and reads what became of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, evolve

from morl.errors import RewardError
from morl_code.sandbox import bubblewrap
from morl_code.sandbox.interface import Outcome, SandboxRefused
from morl_code.sandbox.limits import Limits
from morl_code.sandbox.timing import PATIENCE

_START = "import sys; sys.path.insert(0, sys.argv[1]); from sandbox import zygote; del sys.path[0]; " + (
    "import json; zygote.main(int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))"
)
_LOADER_PATH = "LD_LIBRARY_PATH"  # without which some Pythons do not start
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "HOME": "/tmp", "TMPDIR": "/tmp", "OMP_NUM_THREADS": "1"}
_START_SECONDS = 30.0
_GRACE_SECONDS = 30.0  # beyond a case's own limit, for the zygote to report; a machine may be busy
_ERROR_LENGTH = 500
_NO_VERDICT = "the test ended without a verdict"


class LocalSandbox:
    """A sandbox that is a zygote on this machine.  Not thread-safe: one case at a time.

    Args:
        level: of `morl_code.sandbox.confine.LEVELS`.
        limits: of each program.

    Raises:
        SandboxRefused: the level cannot be entered on this machine.
    """

    def __init__(self, level: str, limits: Limits) -> None:
        self.limits = limits
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package = str(Path(__file__).resolve().parent.parent)
        python = [sys.executable]
        arguments = [package, str(theirs.fileno()), level, json.dumps(asdict(limits))]
        with theirs:
            if level == "bubblewrap":
                python = [*bubblewrap.command(package), bubblewrap.interpreter()]
            self._process = subprocess.Popen(
                [*python, "-s", "-S", "-P", "-X", "utf8", "-c", _START, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**{key: value for key, value in os.environ.items() if key == _LOADER_PATH}, **_ENVIRONMENT},
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._control = ours
        try:
            greeting = self._receive(_START_SECONDS)
            if "refused" in greeting:
                raise SandboxRefused(greeting["refused"])
        except BaseException:
            self.close()
            raise

    def run_script(self, source: str, stdin: str, wall: float, *, imports: bool = False) -> Outcome:
        """See `Sandbox.run_script`."""
        with MemoryFiles(source, stdin, "", "") as files:
            report = self._run("script", files.fds, wall, wall, imports)
            seconds = sum(report["seconds"])
            if not report["timed_out"] and report["status"] == 0:
                return Outcome(True, output=files.read(2), seconds=seconds)
            last_lines = files.read(3).strip().splitlines()[-1:] or [""]
        error = self.ending(report, wall) or last_lines[0][:_ERROR_LENGTH] or f"exit code {report['status']}"
        return Outcome(False, error, ran=False, seconds=seconds)

    def run_tests(
        self,
        source: str,
        setup: str,
        tests: Sequence[str],
        names: Sequence[str] | None,
        wall: float,
        total: float,
        *,
        imports: bool = False,
    ) -> list[Outcome]:
        """See `Sandbox.run_tests`."""
        with MemoryFiles(source, json.dumps({"setup": setup, "tests": tests, "names": names}), "") as files:
            report = self._run("tests", files.fds, wall, total, imports)
            lines = [json.loads(line) for line in files.read(2).splitlines()]
        outcomes = self._outcomes(report, lines, min(wall, total), len(tests))
        seconds = report["seconds"]
        # The clock saw the last case end twice where the tests' process ended by itself.
        spent = [*seconds[: len(outcomes) - 1], sum(seconds[len(outcomes) - 1 :])]
        spent += [0.0] * (len(outcomes) - len(spent))
        return [evolve(outcome, seconds=used) for outcome, used in zip(outcomes, spent, strict=True)]

    def _outcomes(self, report: dict[str, Any], lines: list[Any], wall: float, count: int) -> list[Outcome]:
        ending = self.ending(report, wall)
        start, *verdicts = lines or [{"started": False, "error": None}]
        if not start["started"]:
            return [Outcome(False, ending or start["error"] or _NO_VERDICT, ran=False)] * count
        outcomes = [Outcome(**verdict) for verdict in verdicts]
        if len(outcomes) < count and (report["timed_out"] or not outcomes or outcomes[-1].passed):
            return [*outcomes, Outcome(False, ending or _NO_VERDICT, ran=False)]
        if len(outcomes) < count and ending:
            return [*outcomes[:-1], evolve(outcomes[-1], error=ending)]
        return outcomes

    def close(self) -> None:
        """Ends the zygote and everything in it."""
        with contextlib.suppress(OSError):  # the zygote is gone already
            # Not only closed: a process that was forked from this one may hold a copy.
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr:
            self._process.stderr.close()

    def ask(self, request: dict[str, Any], fds: list[int], seconds: float) -> dict[str, Any]:
        """What the zygote reports on a request.

        Args:
            request: see `zygote`.
            fds: files that go with it.
            seconds: that it may take, as its limits count them.

        Raises:
            RewardError: the sandbox itself failed.
        """
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], fds)
        except OSError as error:
            raise RewardError(f"the sandbox is gone: {error}") from error
        report = self._receive(2 * PATIENCE * seconds + _GRACE_SECONDS)
        if report.get("broken"):
            raise RewardError(f"the sandbox could not confine a process: {report['broken']}")
        return report

    def _run(self, kind: str, fds: list[int], wall: float, total: float, imports: bool) -> dict[str, Any]:
        return self.ask({"kind": kind, "wall": wall, "total": total, "imports": imports}, fds, total)

    def _receive(self, seconds: float) -> dict[str, Any]:
        self._control.settimeout(seconds)
        try:
            message = self._control.recv(8192)
        except OSError as error:
            raise RewardError(f"the sandbox does not answer: {error}") from error
        if not message:
            assert self._process.stderr is not None
            tail = self._process.stderr.read()[-2000:].decode(errors="replace").strip()
            raise RewardError(f"the sandbox ended: {tail or f'exit code {self._process.wait()}'}")
        return dict(json.loads(message))

    def ending(self, report: dict[str, Any], wall: float) -> str | None:
        """How the program's process ended, if by a limit or a signal."""
        if report["timed_out"]:
            return f"timed out after {wall:.3g} s"
        if report["status"] == -signal.SIGKILL:  # by a limit, or at the end, by the zygote
            # The kernel counts in ticks against the limit, and more finely here.
            return f"used {self.limits.cpu} s of processor time" if report["cpu"] > self.limits.cpu / 2 else None
        if report["status"] >= 0:
            return None
        return f"died of {signal.Signals(-report['status']).name}"


class MemoryFiles:
    """Anonymous files in memory: what a case reads and writes, without any name or pipe that could fill up."""

    def __init__(self, *texts: str) -> None:
        self.fds: list[int] = []
        for text in texts:
            fd = os.memfd_create("morl-code", os.MFD_CLOEXEC)
            self.fds.append(fd)
            self.write(-1, text)
            os.lseek(fd, 0, os.SEEK_SET)

    def write(self, index: int, text: str) -> None:
        """In place of what the file holds."""
        os.ftruncate(self.fds[index], 0)
        os.lseek(self.fds[index], 0, os.SEEK_SET)
        with open(self.fds[index], "wb", closefd=False) as file:
            file.write(text.encode("utf-8", "surrogatepass"))

    def size(self, index: int) -> int:
        """Bytes that the file holds."""
        return os.fstat(self.fds[index]).st_size

    def ends(self, index: int, most: int) -> str:
        """What the file holds, or its beginning and its end with a mark between.

        Args:
            index: of the file.
            most: bytes that are shown.
        """
        fd, size = self.fds[index], self.size(index)
        if size <= most:
            return os.pread(fd, most, 0).decode(errors="replace")
        first = os.pread(fd, most - most // 2, 0).decode(errors="replace")
        last = os.pread(fd, most // 2, size - most // 2).decode(errors="replace")
        return f"{first}\n[.. {size - most} bytes are left out ..]\n{last}"

    def read(self, index: int) -> str:
        """What the file holds now."""
        os.lseek(self.fds[index], 0, os.SEEK_SET)
        with open(self.fds[index], encoding="utf-8", errors="replace", newline="", closefd=False) as file:
            return file.read()

    def __enter__(self) -> MemoryFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The files are gone."""
        for fd in self.fds:
            os.close(fd)
