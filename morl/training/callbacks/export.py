"""The policy in Hugging Face form: at the end, now and then, and the best by an evaluation."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from attrs import define, field
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from morl.artifacts.card import write_card
from morl.artifacts.exported import Exported, read_note, write_note
from morl.artifacts.files import write_folder
from morl.artifacts.folder import RunFolder
from morl.policy.load import save_policy
from morl.runtime.exchange import is_first_rank
from morl.runtime.hub import upload
from morl.training.callbacks.evaluation import Evaluations
from morl.training.module import RLModule


@define(eq=False, slots=False)
class ExportModel(L.Callback):
    """Saves policy and tokenizer to the run folder when training ends, after some of the steps, and when it is best.

    Attributes:
        folder: of the run.
        every: steps between exports; 0 makes one at the end only.
        best: the reward whose highest held-out mean says which model is kept as the best; None keeps none.
        evaluations: where the means come from.
        hub: repository that the final model is uploaded to, if any.
    """

    folder: RunFolder
    every: int = 0
    best: str | None = None
    evaluations: Evaluations | None = None
    hub: str | None = None
    _best: Exported | None = field(default=None, init=False)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self._best = self._best_until(int(pl_module.finished_steps))
        trainer.strategy.barrier()  # every rank has read it before the first replaces it
        self._keep_best(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        step = int(pl_module.finished_steps)
        if self.every and step % self.every == 0:
            self._write(trainer, pl_module, self.folder.export(step), Exported(step))
        self._keep_best(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self._keep_best(trainer, pl_module)
        self._write(trainer, pl_module, self.folder.model, Exported(int(pl_module.finished_steps)))
        if self.hub is not None and trainer.is_global_zero:
            write_card(self.folder.model, self.folder, int(pl_module.finished_steps))
            upload(self.folder.model, self.hub, self.folder.path)

    def _best_until(self, done: int) -> Exported | None:
        """The best model of the run so far: the one that is kept, or one that was not, which is named."""
        kept = read_note(self.folder.best)
        if self.best is None or self.evaluations is None or (kept is not None and kept.best == self.best):
            return kept
        means = {step: metrics.get(self.best) for step, metrics in self.evaluations.results.items() if step < done}
        known = {step: mean for step, mean in means.items() if mean is not None and mean == mean}
        if not known:
            return None
        step = max(known, key=lambda number: (known[number], -number))
        if is_first_rank():
            warnings.warn(
                f"training.keep_best={self.best}: the highest mean until now is {known[step]:.4g}, after step {step},"
                " whose model was not kept; one is kept when it is exceeded",
                stacklevel=2,
            )
        return Exported(step, self.best, known[step])

    def _keep_best(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Keeps the present policy if its evaluation is better than that of the one which is kept."""
        if self.best is None or self.evaluations is None:
            return
        assert isinstance(module, RLModule)
        step = int(module.finished_steps)
        mean = self.evaluations.results.get(step, {}).get(self.best)
        if mean is None or mean != mean or (self._best is not None and not self._best.is_below(mean)):
            return
        self._best = Exported(step, self.best, mean)
        self._write(trainer, module, self.folder.best, self._best)

    def _write(self, trainer: L.Trainer, module: RLModule, folder: Path, note: Exported) -> None:
        state: dict[str, Any] | None = None
        if isinstance(trainer.strategy, ModelParallelStrategy):
            # Every rank takes part in gathering the shards.
            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            state = get_model_state_dict(module.policy, options=options)
        if trainer.is_global_zero:
            write_folder(folder, partial(_save, module, state, note))


def _save(module: RLModule, state: dict[str, Any] | None, note: Exported, folder: Path) -> None:
    save_policy(module.policy, module.exported_tokenizer, folder, state)
    write_note(folder, note)
