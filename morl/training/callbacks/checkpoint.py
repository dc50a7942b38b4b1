"""Lightning checkpoints between steps, counted in rollout batches."""

from __future__ import annotations

import time
import warnings
from typing import Any

import lightning.pytorch as L
from attrs import define, field
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning_utilities.core.rank_zero import rank_zero_only

from morl.artifacts.files import checksum_of, draft_of, remove
from morl.artifacts.folder import RunFolder
from morl.errors import MorlError
from morl.interrupts import Terminated, deferred
from morl.training.checkpoint_files import seal
from morl.training.module import RLModule


@define(eq=False, slots=False)
class Checkpoints(L.Callback):
    """Writes `step-<n>.ckpt` after every `every` steps or `minutes`, and when the run ends; keeps the newest `keep`.

    Lightning's own `ModelCheckpoint` counts optimizer steps, several of which make one rollout batch; it may be used
    beside this one.
    """

    folder: RunFolder
    every: int
    keep: int
    minutes: float = 0.0
    _last: float = field(factory=time.monotonic, init=False)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        step = int(pl_module.finished_steps)
        # A callback may have asked for the end: Lightning's Timer, or one of the user's, all of which come before.
        last = step >= pl_module.config.training.length or trainer.should_stop
        if last or (self.every and step % self.every == 0) or self._is_time(pl_module):
            with deferred():
                self._save(trainer, step)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Keeps the finished steps of a run that an error, Ctrl-C or SIGTERM ends.

        Of several ranks the first writes what it has itself, for the others may never come to take part.
        """
        assert isinstance(pl_module, RLModule)
        step = int(pl_module.finished_steps)
        if not step or self.folder.checkpoint(step).exists():
            return
        with deferred():
            try:
                if pl_module.back_to_finished_step():
                    self._save_alone(trainer, pl_module, step, exception)
            except (MorlError, OSError) as error:
                # The error that ends the run is the one to be reported.
                warnings.warn(f"the last finished step could not be kept: {error}", stacklevel=1)

    def _is_time(self, module: RLModule) -> bool:
        """By the clock of the first rank."""
        due = self.minutes > 0 and time.monotonic() - self._last >= 60 * self.minutes
        return self.minutes > 0 and module.exchange.gather(due)[0]

    def _save(self, trainer: L.Trainer, step: int) -> None:
        target = self.folder.checkpoint(step)
        if isinstance(trainer.strategy, ModelParallelStrategy):
            # It writes a folder, in which every rank has its part.
            trainer.save_checkpoint(draft_of(target))
            if trainer.is_global_zero:
                seal(draft_of(target), target)
            trainer.strategy.barrier()
        else:
            trainer.save_checkpoint(target)
        self._last = time.monotonic()
        self._remove_old()

    def _save_alone(self, trainer: L.Trainer, module: RLModule, step: int, exception: BaseException) -> None:
        """What `Trainer.save_checkpoint` does, without waiting for the other ranks.

        A sharded policy is in no rank's hands alone, nor are states that differ from rank to rank; but SIGTERM ends all
        ranks of such a policy after the same step.
        """
        sharded = isinstance(trainer.strategy, ModelParallelStrategy)
        if trainer.world_size == 1 or (sharded and isinstance(exception, Terminated)):
            self._save(trainer, step)
            return
        of_each = any(path.startswith("rewards.") for path in module.parts.stateful())
        if not trainer.is_global_zero or of_each or sharded:
            return
        module.alone = True
        content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        trainer.strategy.checkpoint_io.save_checkpoint(content, self.folder.checkpoint(step))

    @rank_zero_only
    def _remove_old(self) -> None:
        for path in self.folder.all_checkpoints()[: -self.keep]:
            remove(path)
            remove(checksum_of(path))
