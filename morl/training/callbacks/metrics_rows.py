"""The row of every step, to the table and to every other logger, before anything counts the step as done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from attrs import define, field
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning_utilities.core.rank_zero import rank_zero_only

from morl.artifacts.table import MetricsFile
from morl.interrupts import deferred
from morl.training.module import RLModule


class MetricsTable(Logger):
    """`metrics.csv` as a Lightning logger; what a user's callback logs is added to the row of the step."""

    def __init__(self, table: MetricsFile) -> None:
        super().__init__()
        self.table = table
        self.step = 0
        self._early: dict[str, float] = {}

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> MetricsFile:
        return self.table

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Adds to the row of the last finished step, before there is one to the first; Lightning counts otherwise."""
        kept = {name: float(value) for name, value in metrics.items() if name not in ("epoch", "step")}
        if not self.step:
            self._early.update(kept)
        elif kept:
            self.table.write(self.step, kept)

    def finish(self, step: int, row: Mapping[str, float]) -> None:
        """Writes the row of a step."""
        self.step = step
        self.table.write(step, {**self._early, **row})
        self._early.clear()

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """`config.yaml` has them."""


@define(eq=False, slots=False)
class MetricsRows(L.Callback):
    """Writes the row of each step when the step is finished."""

    _written: int = field(default=0, init=False)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._write(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, RLModule)
        step = int(module.finished_steps)
        if module.row is None or step == self._written or not trainer.is_global_zero:
            return
        with deferred():
            self._written = step
            for logger in trainer.loggers:
                if isinstance(logger, MetricsTable):
                    logger.finish(step, module.row)
                else:
                    logger.log_metrics(module.row, step)
