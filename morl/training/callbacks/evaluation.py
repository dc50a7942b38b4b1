"""Held-out rewards before, during and after training."""

from __future__ import annotations

import json
from typing import Any

import lightning.pytorch as L
from attrs import define, field
from lightning_utilities.core.rank_zero import rank_zero_only

from morl.artifacts.files import write_text
from morl.artifacts.folder import RunFolder
from morl.artifacts.metrics import HELD_OUT, Metrics
from morl.training.module import RLModule


@define(eq=False, slots=False)
class Evaluations(L.Callback):
    """Scores the held-out prompts before the first step, every `every` steps and after the last.

    Attributes:
        results: metrics by number of finished steps; also written to the run folder.
    """

    folder: RunFolder
    every: int
    results: dict[int, Metrics] = field(factory=dict)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        if self.folder.evaluation.is_file():
            recorded = json.loads(self.folder.evaluation.read_text(encoding="utf-8"))
            done = int(pl_module.finished_steps)
            self.results = {row["step"]: row["metrics"] for row in recorded if row["step"] <= done}
        if int(pl_module.finished_steps) == 0:
            self._evaluate(pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        step = int(pl_module.finished_steps)
        if step >= pl_module.config.training.steps or (self.every and step % self.every == 0):
            self._evaluate(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self._evaluate(pl_module)  # of a run that was stopped early

    def _evaluate(self, module: RLModule) -> None:
        step = int(module.finished_steps)
        if step in self.results:
            return
        self.results[step] = metrics = module.evaluate()
        for logger in module.loggers:
            # The row of the last step that made these weights; before the first there is none.
            logger.log_metrics({HELD_OUT.of(name): value for name, value in metrics.items()}, max(step - 1, 0))
        self._write()

    @rank_zero_only
    def _write(self) -> None:
        rows = [{"step": step, "metrics": metrics} for step, metrics in sorted(self.results.items())]
        write_text(self.folder.evaluation, json.dumps(rows, indent=2) + "\n")
