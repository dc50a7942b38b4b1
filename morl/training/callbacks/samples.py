"""Sampled completions with what they earned, to be read by people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as L
import torch
from attrs import define, field

from morl.artifacts.files import write_text
from morl.artifacts.folder import RunFolder
from morl.interrupts import deferred
from morl.runtime.samples import bounded, rollout_rows
from morl.training.collect import Experience
from morl.training.fates import counted as counted_fates
from morl.training.fates import fates, pieces
from morl.training.module import RLModule
from morl.training.trackers import MLflowTracker, WandbTracker


@define(eq=False, slots=False)
class SampleFiles(L.Callback):
    """Writes this step's completions to `step-<n>.jsonl` every `every` steps, and those of the last step.

    A line holds the prompt, the completion, its rewards as scored (null = missing), what each reward contributed to
    the advantage, and the advantage; of a conversation also the messages of every turn.
    With `most` only so many, in whole groups, as many of every rank.  Of a step that an exception ends, in whichever
    rank, the file holds the completions of the first rank.
    """

    folder: RunFolder
    every: int
    most: int | None = None
    _written: int = field(default=0, init=False)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, RLModule)
        self._write_if_due(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        # Of a step that was finished when the run was stopped, before its checkpoint counts it.
        assert isinstance(pl_module, RLModule)
        if pl_module.experience is not None:
            self._write_if_due(trainer, pl_module, alone=True)

    def _write_if_due(self, trainer: L.Trainer, module: RLModule, *, alone: bool = False) -> None:
        if self.every and (int(module.finished_steps) - 1) % self.every == 0:
            self._write(trainer, module, alone=alone)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, RLModule)
        if self.every and pl_module.experience is not None and self._written != int(pl_module.finished_steps):
            self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, module: RLModule, *, alone: bool = False) -> None:
        ranks = 1 if alone else module.exchange.size
        rows = [*sample_rows(module, None if self.most is None else -(-self.most // ranks))]
        if not alone:  # every rank is here
            rows = [row for own in module.exchange.gather(rows) for row in own]
        self._written = int(module.finished_steps)
        if not trainer.is_global_zero:
            return
        self.folder.samples.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        path = self.folder.sample_file(int(module.finished_steps))
        with deferred():
            write_text(path, "\n".join(lines) + "\n")
        for logger in trainer.loggers:
            if isinstance(logger, (WandbTracker, MLflowTracker)):
                logger.log_transcripts(int(module.finished_steps), rows)


def sample_rows(module: RLModule, most: int | None = None) -> Iterator[dict[str, Any]]:
    """One mapping per completion of this rank's last experience.

    Args:
        most: completions; the groups that they do not hold whole are left out, but for the first.
    """
    experience = module.experience
    assert experience is not None
    rollouts, rows = experience.rollouts, experience.local_rows
    prompts, earned = rollouts.group_ids_B.tolist(), list(_earned(experience))
    # Of the whole step, whichever rank sampled them.
    groups = torch.unique(experience.scores.positions_B, return_inverse=True)[1][rows].tolist()
    kept = _whole_groups(groups, most)
    fates_BT = fates(experience, module.updater.clipped_BT, bool(module.config.training.mask_truncated)).tolist()
    ids_BT = rollouts.completion_ids_BT.tolist()
    for b, row in enumerate(rollout_rows(rollouts)):
        if groups[b] not in kept:
            continue
        yield {
            **row,
            "group": groups[b],
            "columns": {name: bounded(value) for name, value in rollouts.prompts[prompts[b]].prompt.columns.items()},
            "weights_version": int(rollouts.weights_versions_B[b]),
            **earned[b],
            "fates": counted_fates(fates_BT[b]),
            **_pieces(pieces(ids_BT[b], fates_BT[b], module.tokenizer.decode)),
        }


def _earned(experience: Experience) -> Iterator[dict[str, Any]]:
    """From the scores of each of this rank's completions to its advantage: all that the estimator was told and said."""
    rewards, conditioned, rows = experience.rewards, experience.conditioned, experience.local_rows
    names = rewards.names
    scores = _by_name(names, rewards.values_BK[rows].tolist())
    seen = _by_name(names, conditioned.values_BK.masked_fill(~conditioned.valid_BK, math.nan)[rows].tolist())
    # Dropped by a failure, or truncated under `mask_truncated: statistics`: scored, and yet not seen by the estimator.
    left_out_B = (~rewards.valid_BK & ~rewards.values_BK.isnan()).any(1)[rows].tolist()
    failed_BK = experience.scores.failed_BK[rows].tolist()
    weights_BK = experience.weights_BK[rows].tolist()
    contributions_BK = experience.advantages.contributions_BK[rows].tolist()
    advantages_B = experience.advantages.values_B[rows].tolist()
    bounds = {"bounds": {name: [*pair] for name, pair in rewards.bounds.items()}} if rewards.bounds else {}
    for b, row in enumerate(rows.tolist()):
        yield {
            "rewards": scores[b],
            "failed": [name for name, has in zip(names, failed_BK[b], strict=True) if has],
            "conditioned": {name: value for name, value in seen[b].items() if value != scores[b][name]},
            **({"left_out": True} if left_out_B[b] else {}),
            **bounds,
            "weights": dict(zip(names, weights_BK[b], strict=True)),
            "contributions": dict(zip(names, contributions_BK[b], strict=True)),
            "advantage": advantages_B[b],
            **_of_turns(experience, row),
        }


def _of_turns(experience: Experience, row: int) -> dict[str, list[float]]:
    """The advantage of every turn, the mean over its tokens, where the estimator tells tokens apart."""
    values_BT, spans = experience.advantages.values_BT, experience.rewards.spans
    if values_BT is None or spans is None:
        return {}
    return {"turn_advantages": [float(values_BT[row, start:end].mean()) for start, end in spans[row]]}


def _pieces(found: list[list[str]]) -> dict[str, Any]:
    """The text a second time only where its tokens fared differently."""
    if len(found) > 1:
        return {"pieces": found}
    return {"fate": found[0][0]} if found else {}


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
