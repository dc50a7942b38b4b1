"""A program's process that stays from call to call, as the zygote sees it: told to go on, watched, and stopped again.

Between calls the process is stopped, so that nothing of it computes while nobody waits for it.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from typing import Any

from .process import Process
from .timing import Clock


class Session:
    """The process, and what tells it to go on.

    Args:
        process: runs `session_program.serve`.
        link: its end of the link is the process's file 4.  What comes back is the process's own word.
        control: whose other end is closed when nobody wants a result any more.
    """

    def __init__(self, process: Process, link: socket.socket, control: socket.socket) -> None:
        self._process = process
        self._link = link
        self._link.setblocking(False)
        self._control = control
        self._number = 0

    def call(self, wall: float) -> dict[str, Any]:
        """Has the process run the text in its file, for so many seconds.

        Returns:
            `alive`: the process has answered, and is stopped; `done`: it says that the text ran without an error;
            `timed_out`: it is over its limit; `seconds` that count.
        """
        self._number = (self._number + 1) % 256
        with contextlib.suppress(OSError):  # it has closed its end, or never reads: then it does not answer either
            self._link.send(bytes([self._number]))
        clock = Clock([self._process.pid], wall, wall)
        self._process.signal(signal.SIGCONT)
        answer = self._wait(clock)
        clock.end()
        if answer:
            self._process.signal(signal.SIGSTOP)
        return {
            "alive": bool(answer),
            "done": bool(answer and answer[-1]),
            "timed_out": answer is None,
            "seconds": clock.cases[0],
        }

    def end(self) -> tuple[int, float, str]:
        """See `Process.end`; the link is open until then, or a program that reads from it would go on."""
        try:
            return self._process.end()
        finally:
            self._link.close()

    def _wait(self, clock: Clock) -> bytes | None:
        """What the process answers to this call, and not to an earlier one or out of turn.

        Returns:
            The number of the call, and 1 or 0; nothing if the process ended, or nobody wants to know; None if it is
            over its limit.
        """
        poll = select.poll()
        poll.register(self._process.fd, select.POLLIN)
        poll.register(self._link, select.POLLIN)
        poll.register(self._control, select.POLLHUP)
        while True:
            ready = dict(poll.poll(clock.interval() * 1000))
            if self._link.fileno() in ready:
                answer = b""
                with contextlib.suppress(OSError):
                    answer = self._link.recv(4096)
                if answer[-2:-1] == bytes([self._number]):
                    return answer[-2:]
                if not answer:
                    poll.unregister(self._link)  # closed: nothing more comes
                elif clock.is_over():
                    return None
            elif self._process.fd in ready or self._control.fileno() in ready:
                return b""
            elif clock.is_over():
                return None
