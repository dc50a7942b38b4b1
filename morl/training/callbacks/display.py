"""The live display of a run, and the table at its end."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as L
from attrs import define, field
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from morl.artifacts import metrics as names
from morl.artifacts.metrics import Metrics
from morl.runtime.held_out import HeldOut
from morl.training.arithmetic import step_in_words
from morl.training.module import RLModule
from morl.types import CompletionStatus

PLAIN_LINES = 20
"""Lines that a whole run prints where there is no terminal to draw on."""
_KL = {"reference": names.OF_THE_LOSS.of("kl_reference"), "sampling policy": names.OF_THE_LOSS.of("kl_old")}
TREND_STEPS = 10
"""Steps over which the trend of a reward is the change of its mean."""


@define(eq=False, slots=False)
class LiveDisplay(L.Callback):
    """Step, throughput, loss, every reward by name with its trend; one line now and then without a terminal."""

    console: Console = field(factory=lambda: Console(stderr=True))
    _live: Live | None = field(default=None, init=False)
    _progress: Progress | None = field(default=None, init=False)
    _means: deque[dict[str, float]] = field(factory=lambda: deque(maxlen=TREND_STEPS + 1), init=False)

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
            rewards = pl_module.parts.scorer.names
            self._means.append({name: metrics.get(names.REWARD_MEAN.of(name), math.nan) for name in rewards})
            table = _metrics_table(metrics, rewards, self._means[0] if len(self._means) > 1 else {})
            self._live.update(Group(self._progress, table, Text(_summary(metrics))))
        elif step in (1, steps) or step % max(steps // PLAIN_LINES, 1) == 0:
            self.console.print(_plain_line(step, steps, metrics, pl_module.parts.scorer.names), soft_wrap=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within it nothing is drawn, so that others can print lines."""
        if self._live is None:
            yield
            return
        self._live.stop()
        try:
            yield
        finally:
            if self._live is not None:
                self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def results_table(
    evaluations: Mapping[int, Metrics], rewards: tuple[str, ...], held_out: Mapping[int, HeldOut] | None = None
) -> Table:
    """Each reward, and the length of completions, in the first and the last evaluation, and what changed.

    Args:
        evaluations: metrics by number of finished steps.
        rewards: their names.
        held_out: those with intervals, of the evaluations that this process made.
    """
    found = held_out or {}
    steps = sorted({min(evaluations), max(evaluations)})
    prompts = max((each.prompts for one in found.values() for each in one.estimates.values()), default=None)
    caption = None if prompts is None else f"means over {prompts} prompts, [95% intervals]"
    table = Table("held-out prompts", caption=caption)
    for step in steps:
        table.add_column("before" if step == 0 else f"after {step} steps", justify="right")
    if len(steps) > 1:
        table.add_column("change", justify="right")
    rows = {f"[bold]{escape(name)}": name for name in rewards}
    rows |= {"tokens": names.LENGTH_MEAN.name, "truncated": names.TRUNCATED.name}
    for title, name in rows.items():
        # Without a score for each, the two may be means over different completions.
        shares = [evaluations[step].get(names.SCORED.of(name), 1.0) for step in steps]
        # A reward that came when the run was resumed was not evaluated before.
        known = [evaluations[step].get(name) for step in steps]
        cells = [
            "-" if mean is None else _with_interval(mean, found.get(step), name, share)
            for step, mean, share in zip(steps, known, shares, strict=True)
        ]
        if len(steps) > 1:
            comparable = None not in known and min(shares) == 1
            cells.append(_change(evaluations, steps, found, name) if comparable else "-")
        table.add_row(title, *map(escape, cells))
    return table


def _with_interval(mean: float, found: HeldOut | None, name: str, share: float) -> str:
    if share < 1:
        return f"{mean:.3f} ({share:.0%} scored)"
    known = None if found is None else found.estimates.get(name)
    return f"{mean:.3f}" if known is None or known.low is None else f"{mean:.3f}\n[{known.low:.3f}, {known.high:.3f}]"


def _change(evaluations: Mapping[int, Metrics], steps: Sequence[int], found: Mapping[int, HeldOut], name: str) -> str:
    """With the interval of the differences prompt by prompt, where both evaluations are known that well."""
    first, last = steps
    text = f"{evaluations[last][name] - evaluations[first][name]:+.3f}"
    if first not in found or last not in found:
        return text
    known = found[last].change(found[first]).get(name)
    return text if known is None or known.low is None else f"{text}\n[{known.low:+.3f}, {known.high:+.3f}]"


def _metrics_table(metrics: Mapping[str, float], rewards: tuple[str, ...], before: Mapping[str, float]) -> Table:
    """Each reward in the last step; with its trend, the change of the mean over the last steps."""
    table = Table(show_edge=False, pad_edge=False)
    headings = ("reward", "mean", "trend", "std", "dead groups", "share of advantage", "missing", "failed")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "reward" else "right")
    for name in rewards:
        mean, std = (metrics.get(metric.of(name), math.nan) for metric in (names.REWARD_MEAN, names.REWARD_STD))
        kinds = (
            *(names.REWARD_DEAD_GROUPS, names.REWARD_ADVANTAGE_SHARE),
            *(names.REWARD_MISSING, names.REWARD_FAILED),
        )
        shares = (metrics.get(metric.of(name), math.nan) for metric in kinds)
        trend = mean - before.get(name, math.nan)
        cells = (f"{mean:.3f}", "" if math.isnan(trend) else f"{trend:+.3f}", f"{std:.3f}")
        table.add_row(escape(name), *cells, *(f"{share:.0%}" for share in shares))
    return table


def _summary(metrics: Mapping[str, float]) -> str:
    """What of a step is not of one reward."""
    get = metrics.get
    return (
        f"loss {get(names.LOSS.name, math.nan):.4f}"
        + next((f" | KL to the {of} {metrics[name]:.4f}" for of, name in _KL.items() if name in metrics), "")
        + f" | length {get(names.LENGTH_MEAN.name, 0):.1f}, truncated {get(names.TRUNCATED.name, 0):.0%}"
        f" | entropy {get(names.ENTROPY.name, 0):.2f}"
        f" | {get(names.TOKENS_PER_SECOND.name, 0):,.0f} tokens/s"
        f"{_conversations(metrics)}"
        f" | different advantages: {get(names.ADVANTAGE_DISTINCT.name, 0):.0f}, for completions with different scores:"
        f" {get(names.DISTINCT_COMBINATIONS.name, 0):.0f}"
    )


def _conversations(metrics: Mapping[str, float]) -> str:
    """Turns, calls and the environment's part, where there are such, and the ways to end that occurred."""
    if names.TURNS.name not in metrics:
        return ""
    shares = {status: metrics.get(names.STATUS.of(status.value), 0.0) for status in CompletionStatus}
    ends = [f"{status.value.replace('_', ' ')} {share:.0%}" for status, share in shares.items() if share > 0]
    return (
        f" | turns {metrics[names.TURNS.name]:.1f}, calls {metrics.get(names.TOOL_CALLS.name, 0):.1f}"
        f" ({metrics.get(names.FAILED_CALLS.name, 0):.1f} failed), environment"
        f" {metrics.get(names.ENVIRONMENT_TOKENS.name, 0):.1f} tokens in"
        f" {metrics.get(names.ENVIRONMENT_SECONDS.name, 0):.2f} s, {', '.join(ends)}"
    )


def _plain_line(step: int, steps: int, metrics: Mapping[str, float], rewards: tuple[str, ...]) -> str:
    means = "  ".join(f"{name} {_mean(metrics, name)}" for name in rewards)
    return f"{time.strftime('%H:%M:%S')}  step {step}/{steps}  {means}  | {_summary(metrics)}"


def _mean(metrics: Mapping[str, float], name: str) -> str:
    """With the share of completions that it is the mean of, where that is not all."""
    missing = metrics.get(names.REWARD_MISSING.of(name), 0.0)
    share = f" ({1 - missing:.0%} scored)" if missing > 0 else ""
    return f"{metrics.get(names.REWARD_MEAN.of(name), math.nan):.3f}{share}"
