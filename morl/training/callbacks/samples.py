"""Sampled completions with what they earned, to be read by people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as L
from attrs import define

from morl.artifacts.files import write_text
from morl.artifacts.folder import RunFolder
from morl.interrupts import deferred
from morl.runtime.samples import rollout_rows
from morl.training.module import RLModule

MOST_CHARACTERS = 2_000
"""Of one column of a prompt's row, as JSON; a longer one is cut, as text."""


@define(eq=False, slots=False)
class SampleFiles(L.Callback):
    """Writes this step's completions to `step-<n>.jsonl` every `every` steps, and those of the last step.

    A line holds the prompt, the completion, its rewards as scored (null = missing), what each reward contributed to
    the advantage, and the advantage; of a conversation also the messages of every turn.
    With several ranks every file holds the completions of the first; with `most` only so many, in whole groups.
    """

    folder: RunFolder
    every: int
    most: int | None = None

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
        lines = (json.dumps(row, ensure_ascii=False) for row in sample_rows(module, self.most))
        path = self.folder.sample_file(int(module.finished_steps))
        with deferred():
            write_text(path, "\n".join(lines) + "\n")


def sample_rows(module: RLModule, most: int | None = None) -> Iterator[dict[str, Any]]:
    """One mapping per completion of this rank's last experience.

    Args:
        most: completions; the groups that they do not hold whole are left out, but for the first.
    """
    experience = module.experience
    assert experience is not None
    rollouts, rows = experience.rollouts, experience.local_rows
    names = experience.rewards.names
    rewards = experience.rewards.values_BK[rows].tolist()
    contributions = experience.advantages.contributions_BK[rows].tolist()
    advantages = experience.advantages.values_B[rows].tolist()
    failed = experience.scores.failed_BK[rows].tolist()
    conditioned = experience.conditioned
    seen = _by_name(names, conditioned.values_BK.masked_fill(~conditioned.valid_BK, math.nan)[rows].tolist())
    # Dropped by a failure, or truncated under `mask_truncated: statistics`: scored, and yet not seen by the estimator.
    left_out = (~experience.rewards.valid_BK & ~experience.rewards.values_BK.isnan()).any(1)[rows].tolist()
    groups = rollouts.group_ids_B.tolist()
    kept = _whole_groups(groups, most)
    for b, row in enumerate(rollout_rows(rollouts)):
        if groups[b] not in kept:
            continue
        scores = _by_name(names, [rewards[b]])[0]
        yield {
            **row,
            "group": groups[b],
            "columns": {name: _bounded(value) for name, value in rollouts.prompts[groups[b]].prompt.columns.items()},
            "weights_version": int(rollouts.weights_versions_B[b]),
            "rewards": scores,
            "failed": [name for name, has in zip(names, failed[b], strict=True) if has],
            "conditioned": {name: value for name, value in seen[b].items() if value != scores[name]},
            **({"left_out": True} if left_out[b] else {}),
            "contributions": dict(zip(names, contributions[b], strict=True)),
            "advantage": advantages[b],
        }


def _by_name(names: tuple[str, ...], rows: list[list[float]]) -> list[dict[str, float | None]]:
    """NaN is no JSON: a missing reward is None."""
    return [{n: None if math.isnan(value) else value for n, value in zip(names, row, strict=True)} for row in rows]


def _whole_groups(groups: list[int], most: int | None) -> set[int]:
    """The first groups that fit into so many completions, at least one."""
    sizes: dict[int, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    kept: set[int] = set()
    held = 0
    for group, size in sizes.items():
        if most is not None and kept and held + size > most:
            break
        kept.add(group)
        held += size
    return kept


def _bounded(value: Any) -> Any:
    """A column as JSON can hold it, and no longer than `MOST_CHARACTERS`."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except (TypeError, ValueError):
        return str(value)[:MOST_CHARACTERS]
    return json.loads(text) if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS]
