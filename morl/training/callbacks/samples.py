"""Sampled completions with what they earned, to be read by people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as L
from attrs import define

from morl.artifacts.files import write_text
from morl.artifacts.folder import RunFolder
from morl.interrupts import deferred
from morl.runtime.samples import rollout_rows
from morl.training.module import RLModule


@define(eq=False, slots=False)
class SampleFiles(L.Callback):
    """Writes this step's completions to `step-<n>.jsonl` every `every` steps, and those of the last step.

    A line holds the prompt, the completion, its rewards as scored (null = missing), what each reward contributed to
    the advantage, and the advantage; of a conversation also the messages of every turn.
    With several ranks every file holds the completions of the first.
    """

    folder: RunFolder
    every: int

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        self._write_if_due(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        # Of a step that was finished when the run was stopped, before its checkpoint counts it.
        assert isinstance(pl_module, RLModule)
        if pl_module.experience is not None:
            self._write_if_due(trainer, pl_module)

    def _write_if_due(self, trainer: L.Trainer, module: RLModule) -> None:
        if self.every and (int(module.finished_steps) - 1) % self.every == 0:
            self._write(trainer, module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        if self.every and pl_module.experience is not None:
            self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, module: RLModule) -> None:
        if not trainer.is_global_zero:
            return
        self.folder.samples.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) for row in sample_rows(module))
        path = self.folder.sample_file(int(module.finished_steps))
        with deferred():
            write_text(path, "\n".join(lines) + "\n")


def sample_rows(module: RLModule) -> Iterator[dict[str, Any]]:
    """One mapping per completion of this rank's last experience."""
    experience = module.experience
    assert experience is not None
    rollouts, rows = experience.rollouts, experience.local_rows
    names = experience.rewards.names
    rewards = experience.rewards.values_BK[rows].tolist()
    contributions = experience.advantages.contributions_BK[rows].tolist()
    advantages = experience.advantages.values_B[rows].tolist()
    for b, row in enumerate(rollout_rows(rollouts)):
        yield {
            **row,
            "weights_version": int(rollouts.weights_versions_B[b]),
            # NaN is no JSON: a missing reward is null.
            "rewards": {n: None if value != value else value for n, value in zip(names, rewards[b], strict=True)},
            "contributions": dict(zip(names, contributions[b], strict=True)),
            "advantage": advantages[b],
        }
