"""An estimator beside its presets, on the same rewards: what moving a run from another trainer would change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import torch
from attrs import frozen

from morl.advantage import GDPO, GRPO, GRPONoStd
from morl.advantage.presets import GDPO_PRESETS
from morl.errors import ConfigError, DataError, RewardError, suggest
from morl.integrations.matrix import matrix
from morl.types import RewardMatrix

ESTIMATORS = {"gdpo": GDPO, "grpo": GRPO, "grpo-no-std": GRPONoStd}
PRESETS = tuple(GDPO_PRESETS)


@frozen
class Column:
    """One way to compute the advantages.

    Attributes:
        name: `morl`, or that of the preset.
        values: advantages, empty where the preset refuses the rewards.
        refused: why.
    """

    name: str
    values: tuple[float, ...] = ()
    refused: str = ""


def compared(estimator: str, rewards: RewardMatrix) -> list[Column]:
    """morl's advantages, then those of each preset."""
    made = ESTIMATORS[estimator]
    columns = [Column("morl", tuple(made()(rewards).values_B.tolist()))]
    for preset in PRESETS:
        try:
            columns.append(Column(preset, tuple(made(preset=preset)(rewards).values_B.tolist())))
        except RewardError as error:
            columns.append(Column(preset, refused=str(error)))
    return columns


def table(columns: list[Column], rewards: RewardMatrix, rows: int) -> str:
    """The first rows, and how far each preset is from morl over all."""
    names = [f"{name:>10.10}" for name in rewards.names]
    heads = [f"{column.name:>11}" for column in columns]
    lines = [" ".join(["group", *names, " |", *heads])]
    for row in range(min(rows, len(rewards.values_BK))):
        scores = [f"{score:10.4g}" if score == score else f"{'-':>10}" for score in rewards.values_BK[row].tolist()]
        cells = [f"{column.values[row]:11.6f}" if column.values else f"{'-':>11}" for column in columns]
        lines.append(" ".join([f"{int(rewards.group_ids_B[row]):5d}", *scores, " |", *cells]))
    if rows < len(rewards.values_BK):
        lines.append(f"... {len(rewards.values_BK) - rows} more")
    lines.append("")
    own, *presets = columns
    for column in presets:
        if not column.values:
            lines.append(f"{column.name}: {column.refused}")
            continue
        apart = [abs(one - other) for one, other in zip(own.values, column.values, strict=True)]
        signs = sum(one * other < 0 for one, other in zip(own.values, column.values, strict=True))
        lines.append(
            f"{column.name}: differs from morl by {median(apart):.2g} in the median, {max(apart):.2g} at most;"
            f" {signs} of {len(apart)} have another sign"
        )
    return "\n".join(lines)


def random_rewards(prompts: int, group_size: int, rewards: int, seed: int) -> RewardMatrix:
    """Some rewards of a few values, the last one continuous on a scale of its own."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 4, (prompts, group_size, rewards), generator=random).double() / 3
    values[:, :, -1] = torch.randn(prompts, group_size, generator=random, dtype=torch.float64) * 0.01
    return RewardMatrix.from_groups(values)


def logged_rewards(folder: Path, weights: Mapping[str, float]) -> RewardMatrix:
    """The rewards of the last samples that a run has written, with its weights where all completions had the same.

    Args:
        folder: of the run.
        weights: by reward name, in place of those of the run.

    Raises:
        DataError: no folder, no samples, or lines that are none.
        ConfigError: a weight for a reward that is not there.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; RUN is the folder of a run, as it was given with --output")
    files = sorted((folder / "samples").glob("step-*.jsonl"))
    if not files:
        raise DataError(f"{folder} has no samples/step-*.jsonl; was it trained with training.samples_every: 0?")
    try:
        lines = [json.loads(line) for line in files[-1].read_text(encoding="utf-8").splitlines() if line]
        names = tuple(lines[0]["rewards"])
        columns = {name: [line["rewards"][name] for line in lines] for name in names}
        # Samples of older runs have no number of the group; two groups of one step may be of one prompt.
        groups = [line.get("group", line["prompt_row"]) for line in lines]
        used = [line.get("weights", {}) for line in lines]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(f"{files[-1]} holds no samples of morl: {error!r}") from error
    if unknown := [name for name in weights if name not in names]:
        raise ConfigError(
            f"--weights: unknown reward {unknown[0]!r}{suggest(unknown[0], names)}; rewards: {', '.join(names)}"
        )
    own = used[0] if all(each == used[0] for each in used) else {}
    return matrix(columns, groups, weights={**own, **weights})
