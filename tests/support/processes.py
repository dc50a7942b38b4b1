"""Processes that tests start: who is there, who is gone, and ports for them."""

from __future__ import annotations

import itertools
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 300.0
"""Seconds until something is taken never to happen; machines that run tests are busy."""

_PORTS = itertools.count(os.getpid() * 97)  # those of workers that started one after the other lie apart
_FIRST_PORT, _MANY_PORTS = 10_000, 20_000
"""Below those that Linux gives to whoever asks for any (`net.ipv4.ip_local_port_range`, from 32768)."""


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether it is so, or gets so before anyone would call it stuck."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended; one that ended may stay listed until its parent asks for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def with_mark(mark: float) -> set[int]:
    """Processes with this number in their command line, not as a part of another number."""
    alone = re.compile(rf"(?<![\d.]){re.escape(str(mark))}(?!\d)")
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if alone.search((entry / "cmdline").read_text(errors="replace")):
                    found.add(int(entry.name))
            except OSError:  # ended meanwhile
                continue
    return found


def free_port() -> int:
    """A port of the loopback that nobody listens on.

    One that the system picks could be another's before the process that is told of it listens: the system gives it to
    whoever asks for any.  These it gives to nobody, and each process of the tests begins at another place.
    """
    while True:
        port = _FIRST_PORT + next(_PORTS) % _MANY_PORTS
        with socket.socket() as connection:
            try:
                connection.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
