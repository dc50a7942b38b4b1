"""A pool of workers that judge programs side by side."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from attrs import evolve

from morl.errors import ConfigError, RewardError
from morl_code.judge.outputs import same_output
from morl_code.judge.types import FunctionTest, Isolation, Program, StdioTest, Test, Verdict
from morl_code.sandbox import registry
from morl_code.sandbox.interface import Outcome, Sandbox
from morl_code.sandbox.limits import Limits
from morl_code.sandbox.probe import choose

_log = logging.getLogger(__name__)


class Judge:
    """Judges programs, `workers` at a time, each apart from the machine and from the others.

    Thread-safe; the workers' processes start with the first programs.

    Args:
        limits: what one program may use; `Limits()` by default.
        isolation: "auto" takes the best level that holds on this machine, and refuses to run where none does; a sandbox
            by name is taken if it holds; "none" protects nothing.  The log says which it is.
        workers: how many programs run at once; one per processor by default.

    Raises:
        ConfigError: an isolation that this machine does not offer; the message says what is missing.

    >>> with Judge(workers=1) as judge:
    ...     judge.run([Program("def double(x): return x + x", [FunctionTest("assert double(4) == 8")])])
    [Verdict(passed=(True,), ran=True, errors=(None,))]
    """

    def __init__(
        self, *, limits: Limits | None = None, isolation: Isolation = "auto", workers: int | None = None
    ) -> None:
        if workers is not None and (type(workers) is not int or workers < 1):
            raise ConfigError(f"workers must be a whole number of at least 1, got {workers!r}")
        self.limits = Limits() if limits is None else limits
        self.isolation = choose(isolation)
        self._start = registry.factory(self.isolation)
        level = logging.WARNING if self.isolation == "none" else logging.INFO
        _log.log(level, "generated programs run at isolation %r%s", self.isolation, _SAYS.get(self.isolation, ""))
        self.workers = workers or len(os.sched_getaffinity(0))
        self._process = os.getpid()
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="judge")
        self._idle: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
        self._end = weakref.finalize(self, _end, self._process, self._threads, self._idle)

    def run(self, programs: Sequence[Program]) -> list[Verdict | Exception]:
        """One verdict per program, in their order; an exception in place of one where the judge itself failed.

        Raises:
            RewardError: the judge is closed, or belongs to another process.
        """
        if not self._end.alive:
            raise RewardError("the judge is closed; make another one")
        if self._process != os.getpid():
            raise RewardError(f"the judge belongs to process {self._process}; make one in each process that judges")
        return list(self._threads.map(self._judge, programs))

    def close(self) -> None:
        """Waits for programs that run, and ends the workers."""
        self._end()

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _judge(self, program: Program) -> Verdict | Exception:
        sandbox = None
        try:
            sandbox = self._take()
            verdict = _judge(program, sandbox, self.limits)
        except Exception as error:  # noqa: BLE001 - a failure of the judge is one of this program only
            if sandbox is not None:
                sandbox.close()
            return error
        self._idle.put(sandbox)
        return verdict

    def _take(self) -> Sandbox:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._start(self.limits)


_SAYS = {"none": ": nothing keeps them from this machine's files, network and processes"}


def _end(process: int, threads: ThreadPoolExecutor, idle: queue.SimpleQueue[Sandbox]) -> None:
    if os.getpid() == process:  # not in a process that was forked from it
        threads.shutdown()
        while not idle.empty():
            idle.get().close()


def _judge(program: Program, sandbox: Sandbox, limits: Limits) -> Verdict:
    left = limits.total
    outcomes: list[Outcome] = []
    while len(outcomes) < len(program.tests):
        rest = program.tests[len(outcomes) :]
        if left <= 0:
            late = Outcome(False, f"not run: the {limits.total:.3g} s of all cases were over", ran=False)
            outcomes += [late] * len(rest)
            break
        found = _next(program, rest, sandbox, limits.wall, left)
        left -= sum(outcome.seconds for outcome in found)
        outcomes += found
    return Verdict(
        passed=tuple(outcome.passed for outcome in outcomes),
        ran=all(outcome.ran for outcome in outcomes),
        errors=tuple(outcome.error and _printable(outcome.error) for outcome in outcomes),
    )


def _next(program: Program, tests: Sequence[Test], sandbox: Sandbox, wall: float, left: float) -> list[Outcome]:
    """The outcome of the first of these tests at least."""
    if isinstance(tests[0], StdioTest):
        outcome = sandbox.run_script(program.source, tests[0].stdin, min(wall, left), imports=program.imports)
        if outcome.passed and not same_output(outcome.output, tests[0].stdout, program.tolerance):
            return [evolve(outcome, passed=False, error=f"wrong answer: {outcome.output.strip()[:200]!r}")]
        return [outcome]
    alike = itertools.takewhile(lambda test: isinstance(test, FunctionTest), tests)
    codes = [test.code for test in alike if isinstance(test, FunctionTest)]
    return sandbox.run_tests(program.source, program.setup, codes, program.names, wall, left, imports=program.imports)


def _printable(text: str) -> str:
    """An error as one line of plain text: the program may have had a say in it, and terminals obey what they show."""
    return "".join(character if character.isprintable() else " " for character in text).strip()
