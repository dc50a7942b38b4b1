"""How a rollout batch is cut up for the update: mini-batches for optimizer steps, micro-batches for memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from morl.runtime import seeds


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
    prompt_lengths: Sequence[int], groups: Sequence[int], lengths: Sequence[int], budget: int, *, packed: bool = True
) -> list[list[int]]:
    """Cuts rows into runs of at most `budget` tokens, as the policy will compute them; at least one row each.

    Args:
        prompt_lengths: tokens of each prompt.
        groups: prompt of each row; rows of one prompt should stand side by side.
        lengths: completion tokens of each row.
        budget: tokens per run.
        packed: prompts are computed once per run and without padding; else every row bears its prompt and is padded
            to the longest.

    >>> micro_batches([4], [0, 0, 0], [3, 3, 3], 10)
    [[0, 1], [2]]
    >>> micro_batches([4], [0, 0, 0], [3, 3, 3], 10, packed=False)
    [[0], [1], [2]]
    """
    runs: list[list[int]] = []
    prompts: dict[int, int] = {}
    completions = longest = 0
    for row, (group, length) in enumerate(zip(groups, lengths, strict=True)):
        fresh = not runs
        if runs:
            packed_cost = sum(prompts.values()) + (group not in prompts) * prompt_lengths[group] + completions + length
            padded_cost = (len(runs[-1]) + 1) * max(longest, prompt_lengths[group] + length)
            fresh = (packed_cost if packed else padded_cost) > budget
        if fresh:
            runs.append([])
            prompts, completions, longest = {}, 0, 0
        runs[-1].append(row)
        prompts[group] = prompt_lengths[group]
        completions += length
        longest = max(longest, prompt_lengths[group] + length)
    return runs
