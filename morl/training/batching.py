"""How a rollout batch is cut up for the update: mini-batches for optimizer steps, micro-batches for memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from morl.training import seeds


def mini_batches(groups: int, count: int, seed: int, step: int, epoch: int) -> list[Tensor]:
    """Deals `groups` groups out to at most `count` mini-batches, at random but for one mini-batch.

    Returns:
        For each mini-batch the sorted indices of its groups; the same on every rank.
    """
    count = min(count, groups)
    if count == 1:
        return [torch.arange(groups)]
    generator = np.random.Generator(np.random.Philox(seeds.derive(seed, seeds.MINI_BATCHES, step, epoch)))
    return [torch.from_numpy(np.sort(part)) for part in np.array_split(generator.permutation(groups), count)]


def micro_batches(
    prompt_lengths: Sequence[int], groups: Sequence[int], lengths: Sequence[int], budget: int
) -> list[list[int]]:
    """Cuts rows into runs of at most `budget` tokens, a prompt counted once per run; at least one row each.

    Args:
        prompt_lengths: tokens of each prompt.
        groups: prompt of each row; rows of one prompt should stand side by side.
        lengths: completion tokens of each row.
        budget: tokens per run.

    >>> micro_batches([4], [0, 0, 0], [3, 3, 3], 10)
    [[0, 1], [2]]
    """
    runs: list[list[int]] = []
    current: list[int] = []
    present: set[int] = set()
    used = 0
    for row, (group, length) in enumerate(zip(groups, lengths, strict=True)):
        cost = length + (0 if group in present else prompt_lengths[group])
        if current and used + cost > budget:
            runs.append(current)
            current, present, used = [], set(), 0
            cost = length + prompt_lengths[group]
        current.append(row)
        present.add(group)
        used += cost
    if current:
        runs.append(current)
    return runs
