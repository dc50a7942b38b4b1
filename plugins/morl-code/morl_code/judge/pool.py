"""A pool of workers that judge programs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from morl_code.judge.types import Isolation, Limits, Program, Verdict


class Judge:
    """Judges programs, `workers` at a time, each apart from the machine and from the others.

    Thread-safe; its processes start on the first run.

    Args:
        limits: what one program may use.
        isolation: "auto" takes the best level that holds on this machine and refuses to run where none does; a level
            by name is taken if it holds.  "none" protects nothing but the verdicts.
        workers: how many programs run at once; one per processor by default.

    Raises:
        ConfigError: an isolation that this machine does not offer; says what is missing.
    """

    def __init__(self, *, limits: Limits = Limits(), isolation: Isolation = "auto", workers: int | None = None) -> None:
        self._limits = limits

    def run(self, programs: Sequence[Program]) -> list[Verdict | Exception]:
        """One verdict per program, in their order; an exception where the judge itself failed."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the workers.  The judge cannot be used afterwards."""

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
