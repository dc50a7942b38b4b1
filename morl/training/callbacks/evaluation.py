"""Held-out rewards before, during and after training."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import lightning.pytorch as L
import torch
from attrs import define, field
from lightning_utilities.core.rank_zero import rank_zero_only

from morl import progress
from morl.artifacts.evaluations import read_evaluations
from morl.artifacts.files import write_text
from morl.artifacts.folder import RunFolder, damaged
from morl.artifacts.metrics import HELD_OUT, Metrics
from morl.errors import DataError
from morl.runtime.exchange import is_first_rank
from morl.runtime.held_out import HeldOut
from morl.training.callbacks.display import LiveDisplay
from morl.training.callbacks.metrics_rows import MetricsTable
from morl.training.module import RLModule


@define(eq=False, slots=False)
class Evaluations(L.Callback):
    """Scores the held-out prompts before the first step, every `every` steps and after the last.

    Attributes:
        initial: whether before the first step, too; or what another run found there: a row of its `evaluation.json`.
        shown: whether it says that an evaluation begins, and how far it is.
        results: metrics by number of finished steps; also written to the run folder.
        found: the same with intervals, of the evaluations of this process.
    """

    folder: RunFolder
    every: int
    initial: bool | Mapping[str, Any] = True
    shown: bool = False
    results: dict[int, Metrics] = field(factory=dict)
    found: dict[int, HeldOut] = field(factory=dict)
    _rows: dict[int, dict[str, Any]] = field(factory=dict, init=False)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        done = int(pl_module.finished_steps)
        if self.folder.evaluation.is_file():
            recorded = [row for row in _recorded(self.folder) if row["step"] <= done]
            self.results = {row["step"]: row["metrics"] for row in recorded}
            self._rows = {row["step"]: row for row in recorded}
        if done == 0 and not self.initial:
            return
        if done == 0 and isinstance(self.initial, Mapping) and 0 not in self.results:
            self._take(pl_module, 0, dict(self.initial))
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
        found = self._scored(module, step)
        self.found[step] = found
        intervals = {name: [each.low, each.high] for name, each in found.estimates.items()}
        prompts = len(module.evaluation_prompts)
        self._take(
            module,
            step,
            {"metrics": found.metrics, "scored": found.scored, "prompts": prompts, "intervals": intervals},
        )
        self._write_samples(step, found.rows)

    def _scored(self, module: RLModule, step: int) -> HeldOut:
        """With a word on what it is, for it may take longer than a step."""
        assert module.config.evaluation is not None
        mine = len(module.exchange.share(len(module.evaluation_prompts)))
        samples = module.config.evaluation.samples
        what = "the initial policy" if step == 0 else f"the policy after {step} steps"
        drawn = "1 completion" if samples == 1 else f"{samples} completions"
        title = f"evaluating {what}: {mine} held-out prompts x {drawn}"
        if module.exchange.size > 1:
            title += f" on each of {module.exchange.size} ranks"
        displays = [each for each in getattr(module.trainer, "callbacks", ()) if isinstance(each, LiveDisplay)]
        with ExitStack() as stack:
            for display in displays:
                stack.enter_context(display.paused())
            advance = stack.enter_context(progress.working(title, mine, wanted=self.shown))
            return module.evaluate(lambda rollouts, scores: advance(len(rollouts.prompts)))

    def _take(self, module: RLModule, step: int, row: dict[str, Any]) -> None:
        metrics: Metrics = row["metrics"]
        self.results[step], self._rows[step] = metrics, {"step": step, **row}
        module.trainer.callback_metrics.update(
            {HELD_OUT.of(name): torch.tensor(value) for name, value in metrics.items()}
        )
        for logger in module.loggers:
            if not isinstance(logger, MetricsTable):  # whose rows are those of steps
                logger.log_metrics({HELD_OUT.of(name): value for name, value in metrics.items()}, step)
        self._write()

    @rank_zero_only
    def _write_samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self.folder.samples.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_text(self.folder.evaluation_sample_file(step), "".join(lines))

    @rank_zero_only
    def _write(self) -> None:
        rows = [self._rows[step] for step in sorted(self._rows)]
        write_text(self.folder.evaluation, json.dumps(rows, indent=2) + "\n")


def _recorded(folder: RunFolder) -> list[dict[str, Any]]:
    """What was evaluated before; a file that cannot be read is named and set aside, and its evaluations are lost."""
    try:
        return read_evaluations(folder.evaluation)
    except DataError as error:
        aside = damaged(folder.evaluation)
        if is_first_rank():
            folder.evaluation.replace(aside)
            warnings.warn(
                f"{error}; it is set aside as {aside.name}, and evaluations before this step are missing from the run",
                stacklevel=2,
            )
        return []
