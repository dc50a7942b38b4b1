"""What a sandbox is to the judge: whatever runs a program apart from the machine, in which way does not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from attrs import frozen

from morl_code.sandbox.limits import Limits


class SandboxRefused(Exception):
    """The machine does not offer a sandbox; the message says what is missing."""


@frozen
class Outcome:
    """What became of one case.

    Attributes:
        passed: of a test: it did; of a script: it ended by itself, with exit code 0.
        error: what went wrong.
        ran: false where that was no wrong answer.
        output: of a script.
        seconds: that count against the limits.
    """

    passed: bool
    error: str | None = None
    ran: bool = True
    output: str = ""
    seconds: float = 0.0


class Sandbox(Protocol):
    """Runs programs, one at a time; a judge has one sandbox per worker.

    It must not let a program reach the machine, the trainer, or another program, and not let it know or touch the
    tests: a test runs in another process than the program, where the program's values arrive as plain ones.
    `probe.check_sandbox` tries the first before a run; `runner` and `program_process` do the second for any sandbox
    that can start two processes with a channel between them.
    """

    def run_script(self, source: str, stdin: str, wall: float, *, imports: bool = False) -> Outcome:
        """Runs a program as `__main__` with this input.

        Args:
            source: the program's text.
            stdin: what it reads.
            wall: seconds that it may take.
            imports: the program may use the names that judges import for it (`morl_code.sandbox.usual`).

        Raises:
            RewardError: the sandbox itself failed.
        """

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
        """Runs a program as a module, and tests against it, one after the other, in another process.

        Args:
            source: the program's text.
            setup: code that runs before each test.
            tests: code.
            names: what tests may look up in the program; None for everything.
            wall: seconds that one test may take.
            total: seconds that all tests may take.
            imports: as for `run_script`.

        Returns:
            One outcome per test, up to and with the first that ended the program's process.

        Raises:
            RewardError: the sandbox itself failed.
        """

    def close(self) -> None:
        """Ends the sandbox and everything in it."""


SandboxFactory: TypeAlias = Callable[[Limits], Sandbox]
"""Starts a sandbox.  May raise `SandboxRefused`, where the machine does not offer it."""
