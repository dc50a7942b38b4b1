"""Held-out rewards before, during and after training."""

from __future__ import annotations

import json
import warnings
from typing import Any

import lightning.pytorch as L
import torch
from attrs import define, field
from lightning_utilities.core.rank_zero import rank_zero_only

from morl.artifacts.files import write_text
from morl.artifacts.folder import RunFolder, damaged
from morl.artifacts.metrics import HELD_OUT, Metrics
from morl.runtime.exchange import is_first_rank
from morl.training.callbacks.metrics_rows import MetricsTable
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
    _scored: dict[int, dict[str, str]] = field(factory=dict, init=False)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        done = int(pl_module.finished_steps)
        if self.folder.evaluation.is_file():
            recorded = [row for row in _recorded(self.folder) if row["step"] <= done]
            self.results = {row["step"]: row["metrics"] for row in recorded}
            self._scored = {row["step"]: row["scored"] for row in recorded}
        if done == 0 or (self.every and done % self.every == 0):
            self._evaluate(pl_module)  # also one that was interrupted

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        step = int(pl_module.finished_steps)
        if step >= pl_module.config.training.length or (self.every and step % self.every == 0):
            self._evaluate(pl_module)
            for callback in trainer.early_stopping_callbacks:
                callback.on_validation_end(trainer, pl_module)  # an evaluation is what it takes for a validation

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        self._evaluate(pl_module)  # of a run that was stopped early

    def _evaluate(self, module: RLModule) -> None:
        step = int(module.finished_steps)
        if step in self.results:
            return
        found = module.evaluate()
        self.results[step], self._scored[step] = found.metrics, found.scored
        module.trainer.callback_metrics.update(
            {HELD_OUT.of(name): torch.tensor(value) for name, value in found.metrics.items()}
        )
        for logger in module.loggers:
            if not isinstance(logger, MetricsTable):  # whose rows are those of steps
                logger.log_metrics({HELD_OUT.of(name): value for name, value in found.metrics.items()}, step)
        self._write()

    @rank_zero_only
    def _write(self) -> None:
        rows = [
            {"step": step, "metrics": metrics, "scored": self._scored[step]}
            for step, metrics in sorted(self.results.items())
        ]
        write_text(self.folder.evaluation, json.dumps(rows, indent=2) + "\n")


def _recorded(folder: RunFolder) -> list[dict[str, Any]]:
    """What was evaluated before; a file that cannot be read is named and set aside, and its evaluations are lost."""
    try:
        rows = json.loads(folder.evaluation.read_text(encoding="utf-8"))
        return [
            {"step": int(row["step"]), "metrics": dict(row["metrics"]), "scored": dict(row.get("scored", {}))}
            for row in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        aside = damaged(folder.evaluation)
        if is_first_rank():
            folder.evaluation.replace(aside)
            warnings.warn(
                f"{folder.evaluation} cannot be read ({error!r}); it is set aside as {aside.name}, and evaluations"
                " before this step are missing from the run",
                stacklevel=2,
            )
        return []
