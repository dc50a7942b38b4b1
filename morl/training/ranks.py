"""What happens to a run on several ranks when one of them is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from subprocess import TimeoutExpired

import lightning.pytorch as L
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

from morl.errors import TrainingError
from morl.runtime.signals import processes

GRACE_SECONDS = 20
"""That the first rank has to write its checkpoint, before it is ended where it hangs, waiting for a lost one."""

_BROKEN = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "process group")


@contextmanager
def watched(trainer: L.Trainer, answering: threading.Event, ending: threading.Event) -> Iterator[None]:
    """Lets the first rank finish what it can when another is lost, where Lightning kills it without a word.

    Lightning looks after its processes every few seconds, from the moment that it has started them; only what it does
    then is replaced.

    Args:
        trainer: of the run.
        answering: set as soon as the run answers signals.
        ending: set where the run is ending already, and nobody answers signals any more.
    """

    def end(_: _ChildProcessObserver) -> None:
        _end(trainer, answering, ending)

    former = _ChildProcessObserver._terminate_all
    _ChildProcessObserver._terminate_all = end  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        _ChildProcessObserver._terminate_all = former  # type: ignore[method-assign]
        for thread in threading.enumerate():  # which is there as long as the process
            if isinstance(thread, _ChildProcessObserver):
                thread._terminate_all = partial(end, thread)  # type: ignore[method-assign]


def _end(trainer: L.Trainer, answering: threading.Event, ending: threading.Event) -> None:
    """In the observing thread."""
    if answering.is_set():
        if not ending.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
    # The process is still here: it hangs in an exchange, where no signal reaches Python, or has done nothing yet.
    print(f"error: {lost_rank(trainer, wait=0)}", file=sys.stderr, flush=True)
    for process in processes(trainer):
        process.kill()
    os._exit(2)


def lost_rank(trainer: L.Trainer, wait: float) -> str | None:
    """What became of the first rank that ended before its time, among those started here; None if all are well."""
    until = time.monotonic() + wait
    while True:
        for rank, process in enumerate(processes(trainer), start=1):
            if code := process.poll():
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                return f"rank {rank} (process {process.pid}) {how}, and the run ends with it; what it wrote is above"
        if time.monotonic() >= until:
            return None
        time.sleep(0.1)


def explained(error: BaseException, trainer: L.Trainer, parent: int) -> BaseException:
    """`error`, or where a lost rank is behind it, one that names the rank.

    Args:
        error: what ended the run here.
        trainer: of the run.
        parent: the process that had started this one when the run began.
    """
    broken = isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _BROKEN)
    if trainer.world_size == 1 or not broken:
        return error
    reason = lost_rank(trainer, wait=GRACE_SECONDS / 2)
    if reason is None and trainer.global_rank and os.getppid() != parent:
        reason = f"the first rank (process {parent}) is gone, and the run ends with it"
    if reason is None:
        reason = f"rank {trainer.global_rank} lost the connection to another rank, which ended before its time"
    return TrainingError(reason)


def end_others(trainer: L.Trainer, *, failed: bool) -> None:
    """Ends the ranks that were started here, where this one failed and they would wait for it for ever."""
    if not failed:
        return
    for process in processes(trainer):
        if process.poll() is None:
            process.terminate()
    for process in processes(trainer):
        try:
            process.wait(GRACE_SECONDS / 2)
        except TimeoutExpired:
            process.kill()
