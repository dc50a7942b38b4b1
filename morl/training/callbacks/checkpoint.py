"""Lightning checkpoints between steps, counted in rollout batches."""

from __future__ import annotations

import shutil
from typing import Any

import lightning.pytorch as L
from attrs import define
from lightning_utilities.core.rank_zero import rank_zero_only

from morl.artifacts.folder import RunFolder
from morl.training.module import RLModule


@define(eq=False, slots=False)
class Checkpoints(L.Callback):
    """Writes `step-<n>.ckpt` after every `every` steps and when the run ends, and keeps the newest `keep`.

    Lightning's own `ModelCheckpoint` counts optimizer steps, several of which make one rollout batch; it may be used
    beside this one.
    """

    folder: RunFolder
    every: int
    keep: int

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        step = int(pl_module.finished_steps)
        # A callback may have asked for the end: Lightning's Timer, or one of the user's, all of which come before.
        last = step >= pl_module.config.training.steps or trainer.should_stop
        if not last and (self.every == 0 or step % self.every):
            return
        self._save(trainer, step)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Keeps the finished steps of a run that a reward, a backend or Ctrl-C ends.

        Not in the middle of an update, and not with several ranks, of which the others may never come to write theirs.
        """
        assert isinstance(pl_module, RLModule)
        step = int(pl_module.finished_steps)
        consistent = step > 0 and not pl_module.updating and trainer.world_size == 1
        if consistent and not self.folder.checkpoint(step).exists():
            self._save(trainer, step)

    def _save(self, trainer: L.Trainer, step: int) -> None:
        trainer.save_checkpoint(self.folder.checkpoint(step))
        self._remove_old()

    @rank_zero_only
    def _remove_old(self) -> None:
        for path in self.folder.all_checkpoints()[: -self.keep]:
            # Sharded strategies write a folder.
            shutil.rmtree(path) if path.is_dir() else path.unlink()
