"""A process beside a rollout server that outlives it by a moment.

A server that is killed cannot end its engine, and vLLM's engine does not notice: it would keep its memory for good.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def guarded_children() -> Iterator[None]:
    """Processes that this thread starts within this are killed when this process ends, however it does (Linux only)."""
    if not hasattr(os, "pidfd_open"):
        yield
        return
    # In a session of its own, for Ctrl-C is not for it.
    command = [sys.executable, "-c", f"from {__name__} import watch; watch()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        yield  # the end of Popen's context closes the pipe


def watch() -> None:
    """Remembers the children of the parent process until the pipe to it closes; kills those that are left then."""
    parent = os.getppid()
    path = Path(f"/proc/{parent}/task/{parent}/children")
    with ExitStack() as stack:
        children: dict[int, int] = {}
        while not select.select([0], [], [], 0.5)[0]:
            with suppress(OSError):
                for child in map(int, path.read_text().split()):
                    if child != os.getpid() and child not in children:
                        children[child] = os.pidfd_open(child)  # so that nobody else who gets its number is killed
                        stack.callback(os.close, children[child])
        for child, descriptor in children.items():
            with suppress(OSError):
                # Python's own, which removes shared memory when the others have ended, and then ends.
                if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes():
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
