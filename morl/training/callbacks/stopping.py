"""Ctrl-C, SIGTERM and lost ranks, while the loop runs."""

from __future__ import annotations

import signal
import threading

import lightning.pytorch as L
from attrs import define, field
from lightning.pytorch.strategies import ModelParallelStrategy

from morl import interrupts
from morl.errors import TrainingError
from morl.runtime.signals import answer
from morl.training import ranks


@define(eq=False, slots=False)
class Stopping(L.Callback):
    """Answers signals at once, where Lightning answers SIGTERM when the step is over.

    Not for a sharded policy: the checkpoint of its last step needs every rank, so all of them finish their step first,
    as Lightning has it.
    """

    _ending: threading.Event = field(factory=threading.Event, init=False)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._ending.set()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        ranks.watch(trainer, self._ending)
        if isinstance(trainer.strategy, ModelParallelStrategy) and trainer.world_size > 1:
            return

        def reason(number: int) -> BaseException:
            lost = ranks.lost_rank(trainer, wait=0) if number == signal.SIGTERM else None
            return TrainingError(lost) if lost is not None else answer(number, trainer)

        interrupts.listen(reason)
