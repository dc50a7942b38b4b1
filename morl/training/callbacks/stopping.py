"""Ctrl-C, SIGTERM and lost ranks, while the loop runs."""

from __future__ import annotations

import signal
import threading
from typing import Any

import lightning.pytorch as L
from attrs import define, field
from lightning.pytorch.strategies import ModelParallelStrategy

from morl import interrupts
from morl.errors import TrainingError
from morl.runtime.signals import answer, hand_on
from morl.training import ranks
from morl.training.module import RLModule


@define(eq=False, slots=False)
class Stopping(L.Callback):
    """Answers signals at once, where Lightning answers SIGTERM when the step is over.

    Not for a sharded policy: the checkpoint of its last step needs every rank, so all of them finish their step first.
    Lightning's own answer, a broadcast from within the handler of the signal, waits for ever where schedulers send the
    signal to every rank and meet them at different exchanges.

    Attributes:
        answering: set when the run answers signals.
        ending: set when it is about to end, and does no longer.
    """

    _noted: threading.Event = field(factory=threading.Event, init=False)
    _sharded: bool = field(default=False, init=False)
    ending: threading.Event = field(factory=threading.Event, init=False)
    answering: threading.Event = field(factory=threading.Event, init=False)
    _asked: threading.Event = field(factory=threading.Event, init=False)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.ending.set()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._sharded = isinstance(trainer.strategy, ModelParallelStrategy) and trainer.world_size > 1
        if self._sharded:
            interrupts.note_sigterm(self._noted.set)
            self.answering.set()
            return

        def reason(number: int) -> BaseException:
            lost = None
            if number == signal.SIGTERM and not self._asked.is_set():
                lost = ranks.lost_rank(trainer, wait=0)
            return TrainingError(lost) if lost is not None else answer(number, trainer)

        def at_once() -> None:
            # A rank that waits for the others cannot answer before they have ended.
            if ranks.lost_rank(trainer, wait=0) is None:
                self._asked.set()
                hand_on(trainer)

        interrupts.listen(reason, at_once)
        self.answering.set()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ends all ranks of a sharded policy after the same step, whichever of them was asked to."""
        assert isinstance(pl_module, RLModule)
        if self._sharded and any(pl_module.exchange.gather(self._noted.is_set())):
            raise interrupts.Terminated
