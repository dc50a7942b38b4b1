"""How a process that has started others, with Lightning's launcher, answers signals."""

from __future__ import annotations

import signal
from subprocess import Popen

import lightning.pytorch as L

from morl.interrupts import Terminated


def processes(trainer: L.Trainer) -> list[Popen[bytes]]:
    """The other ranks that this process has started: all of them with Lightning's launcher, otherwise none."""
    return list(getattr(trainer.strategy.launcher, "procs", ()))


def answer(number: int, trainer: L.Trainer) -> BaseException:
    """The exception that a signal becomes; SIGTERM is handed on to the processes started here.

    A terminal sends Ctrl-C to all of them itself.
    """
    if number == signal.SIGINT:
        return KeyboardInterrupt()
    hand_on(trainer)
    return Terminated()


def hand_on(trainer: L.Trainer) -> None:
    """Sends SIGTERM to the processes started here."""
    for process in processes(trainer):
        process.terminate()
