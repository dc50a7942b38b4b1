"""The live display of a run, and the table at its end."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from attrs import define, field
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from morl.artifacts import metrics as names
from morl.artifacts.metrics import Metrics
from morl.training.arithmetic import step_in_words
from morl.training.module import RLModule
from morl.types import CompletionStatus

PLAIN_LINES = 20
"""Lines that a whole run prints where there is no terminal to draw on."""


@define(eq=False, slots=False)
class LiveDisplay(L.Callback):
    """Step, throughput, every reward by name, distinct advantage values; one line now and then without a terminal."""

    console: Console = field(factory=lambda: Console(stderr=True))
    _live: Live | None = field(default=None, init=False)
    _progress: Progress | None = field(default=None, init=False)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        if not trainer.is_global_zero:
            return
        config, rows = pl_module.config.training, len(pl_module.rollouts.draw.prompts)
        words = step_in_words(config, rows, pl_module.exchange.size, pl_module.updater.budget)
        self.console.print(words, soft_wrap=True, highlight=False)
        if not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("[bold]step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )
        done = int(pl_module.finished_steps)
        self._progress.add_task("training", total=pl_module.config.training.length, completed=done)
        self._live = Live(self._progress, console=self.console, refresh_per_second=4)
        self._live.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        if not trainer.is_global_zero:
            return
        step, steps = int(pl_module.finished_steps), pl_module.config.training.length
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self._live is not None and self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=step)
            table = _metrics_table(metrics, pl_module.parts.scorer.names)
            self._live.update(Group(self._progress, table, Text(_summary(metrics))))
        elif step in (1, steps) or step % max(steps // PLAIN_LINES, 1) == 0:
            self.console.print(_plain_line(step, steps, metrics, pl_module.parts.scorer.names), soft_wrap=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def results_table(before: Metrics, after: Metrics, rewards: tuple[str, ...], steps: int) -> Table:
    """Each reward, and the length of completions, before and after."""
    table = Table("held-out prompts")
    for heading in ("before", f"after {steps} steps", "change"):
        table.add_column(heading, justify="right")
    rows = {f"[bold]{name}": name for name in rewards}
    rows |= {"tokens": names.LENGTH_MEAN.name, "truncated": names.TRUNCATED.name}
    for title, name in rows.items():
        first, last = before[name], after[name]
        # Without a score for each, the two may be means over different completions.
        shares = [metrics.get(names.SCORED.of(name), 1.0) for metrics in (before, after)]
        cells = [
            f"{value:.3f}" + (f" ({share:.0%} scored)" if share < 1 else "")
            for value, share in zip((first, last), shares, strict=True)
        ]
        table.add_row(title, *cells, f"{last - first:+.3f}" if min(shares) == 1 else "-")
    return table


def _metrics_table(metrics: Mapping[str, float], rewards: tuple[str, ...]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("reward", "mean", "std", "dead groups", "share of advantage", "missing", "failed"):
        table.add_column(heading, justify="left" if heading == "reward" else "right")
    for name in rewards:
        figures = (metrics.get(metric.of(name), math.nan) for metric in (names.REWARD_MEAN, names.REWARD_STD))
        kinds = (
            *(names.REWARD_DEAD_GROUPS, names.REWARD_ADVANTAGE_SHARE),
            *(names.REWARD_MISSING, names.REWARD_FAILED),
        )
        shares = (metrics.get(metric.of(name), math.nan) for metric in kinds)
        table.add_row(name, *(f"{figure:.3f}" for figure in figures), *(f"{share:.0%}" for share in shares))
    return table


def _summary(metrics: Mapping[str, float]) -> str:
    return (
        f"distinct advantages {metrics.get(names.ADVANTAGE_DISTINCT.name, 0):.0f}"
        f" from {metrics.get(names.DISTINCT_COMBINATIONS.name, 0):.0f} reward combinations"
        f" | {metrics.get(names.TOKENS_PER_SECOND.name, 0):,.0f} tokens/s"
        f" | length {metrics.get(names.LENGTH_MEAN.name, 0):.1f}"
        f" | entropy {metrics.get(names.ENTROPY.name, 0):.2f}"
        f"{_conversations(metrics)}"
    )


def _conversations(metrics: Mapping[str, float]) -> str:
    """Turns and calls, where there are such, and the ways to end other than by itself that occurred."""
    if names.TURNS.name not in metrics:
        return ""
    shares = {status: metrics.get(names.STATUS.of(status.value), 0.0) for status in CompletionStatus}
    ends = [f"{status.value.replace('_', ' ')} {share:.0%}" for status, share in shares.items() if share > 0]
    return (
        f" | turns {metrics[names.TURNS.name]:.1f}, calls {metrics.get(names.TOOL_CALLS.name, 0):.1f}"
        f" ({metrics.get(names.FAILED_CALLS.name, 0):.1f} failed), {', '.join(ends)}"
    )


def _plain_line(step: int, steps: int, metrics: Mapping[str, float], rewards: tuple[str, ...]) -> str:
    means = "  ".join(f"{name} {_mean(metrics, name)}" for name in rewards)
    return f"{time.strftime('%H:%M:%S')}  step {step}/{steps}  {means}  | {_summary(metrics)}"


def _mean(metrics: Mapping[str, float], name: str) -> str:
    """With the share of completions that it is the mean of, where that is not all."""
    missing = metrics.get(names.REWARD_MISSING.of(name), 0.0)
    share = f" ({1 - missing:.0%} scored)" if missing > 0 else ""
    return f"{metrics.get(names.REWARD_MEAN.of(name), math.nan):.3f}{share}"
