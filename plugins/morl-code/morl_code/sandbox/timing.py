"""How long a case may take, on a machine that has other work to do as well."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

PATIENCE = 20
"""How many times its limit a case may last by the wall clock while others have the processors."""

_SHARE = 1 / 40  # of one processor: what has less of it waits, for a busy machine gives more to what could run
_LOOKS = 10  # during a limit


class Clock:
    """Counts what the processes of a program use, case by case.

    A case is over its limit when it has computed for so many seconds, or when it has done next to nothing for as long:
    then it waits for something that does not come.  Time in which it waits for a processor that others have does not
    count, so that a right program does not fail where much runs at once; `PATIENCE` bounds how long that may last.

    Args:
        pids: of the processes.
        limit: seconds of each case.
        total: seconds of all cases together.
    """

    def __init__(self, pids: Sequence[int], limit: float, total: float) -> None:
        self._pids = pids
        self._limit = limit
        self._left = total
        self._computed: dict[int, float] = {}
        self.cases: list[float] = []
        self._looked = self._at_start = self._before = self._watched = self._lasted = 0.0
        self.waits = False
        self._begin()

    def next_case(self) -> None:
        """The case is over; the next one begins."""
        self.cases.append(self._charge())
        self._left -= self.cases[-1]
        self._begin()

    def end(self) -> None:
        """The last case is over."""
        self.cases.append(self._charge())

    def interval(self) -> float:
        """Seconds after which to look again."""
        step = self.limit / _LOOKS
        return max(0.005, min(step, self.limit - self._used()))

    def is_over(self) -> bool:
        """Whether the case is over its limit."""
        now, computed = time.monotonic(), self._processor_time()
        # A machine that stood still as a whole is no program that waits.
        passed = min(now - self._looked, 2 * self.limit / _LOOKS)
        self._looked = now
        self._watched += passed
        self._lasted += passed
        if self._used() >= self.limit or self._lasted >= PATIENCE * self.limit:
            return True
        if self._watched < self.limit:
            return False
        self.waits = computed - self._before < _SHARE * self._watched
        self._watched, self._before = 0.0, computed
        return self.waits

    @property
    def limit(self) -> float:
        """Seconds of this case."""
        return min(self._limit, self._left)

    def _begin(self) -> None:
        self._looked = time.monotonic()
        self._at_start = self._before = self._processor_time()
        self._watched = self._lasted = 0.0
        self.waits = False

    def _used(self) -> float:
        return self._processor_time() - self._at_start

    def _charge(self) -> float:
        lasted = self._lasted + time.monotonic() - self._looked
        return lasted if self.waits else max(self._used(), lasted / PATIENCE)

    def _processor_time(self) -> float:
        for pid in self._pids:
            with contextlib.suppress(OSError):  # gone: what it had used when it was last seen
                # How Linux numbers the clock of a process's processor time (clock_getcpuclockid).
                self._computed[pid] = time.clock_gettime((~pid << 3) | 2)
        return sum(self._computed.values())
