"""What the process of a cell does: `python -m morl.compare.cell train CONFIG`, or `forked` in a forked process.

Either way the cell is the leader of a process group of its own, whose processes end with `morl compare`, however that
ends.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


def forked(arguments: Sequence[str], log: Path, environment: Mapping[str, str], threads: int) -> None:
    """Runs `morl` with `arguments` in a process that was forked off with everything imported; exits with its code."""
    os.setsid()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    _be_interruptible()
    from multiprocessing import parent_process

    parent = parent_process()
    assert parent is not None
    _end_with(parent.sentinel)

    import torch

    # The process forked from had one thread, so that nothing of a pool is missing here.
    os.environ.update(environment)
    torch.set_num_threads(threads)

    sys.exit(_call(arguments))


def _call(arguments: Sequence[str]) -> int:
    """What the command line does with these arguments."""
    # Not before this process can be interrupted.
    from morl.console import call
    from morl.training.command import resume, train

    name, *rest = arguments
    return call({"train": train, "resume": resume}[name], rest)


def _be_interruptible() -> None:
    """A shell has its background jobs ignore interrupts, and they would hand that on to the cells."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_with(descriptor: int) -> None:
    """Kills this process group when the descriptor's other end is closed, which a killed process does as well."""

    def watch() -> None:
        select.select([descriptor], [], [])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="morl-compare-watch", daemon=True).start()


if __name__ == "__main__":
    _be_interruptible()
    _end_with(sys.stdin.fileno())
    sys.exit(_call(sys.argv[1:]))
