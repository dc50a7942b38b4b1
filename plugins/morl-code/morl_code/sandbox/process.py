"""A process that the zygote has forked."""

from __future__ import annotations

import os
import signal


class Process:
    def __init__(self, pid: int, broken: int) -> None:
        self.pid = pid
        self._broken = broken
        self.fd = os.pidfd_open(pid)

    def signal(self, number: int) -> None:
        """Sends a signal to the process and its group."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # no group of its own
            os.kill(self.pid, number)

    def end(self) -> tuple[int, float, str]:
        """Kills the process and all that it started.

        Returns:
            Its exit status, negative for a signal; its CPU time; why it could not be confined, if so.
        """
        self.signal(signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        broken = os.read(self._broken, 2000).decode(errors="replace")
        os.close(self._broken)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, broken
