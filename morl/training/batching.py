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

    There are as few runs as can be, and the largest of them is as small as it can be, for that is what takes memory.

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

    def cut(budget: int) -> list[list[int]]:
        return _filled_runs(prompt_lengths, groups, lengths, budget, packed)

    fewest = len(cut(budget))
    least, enough = 1, budget
    while least < enough and fewest > 1:
        middle = (least + enough) // 2
        if len(cut(middle)) > fewest:
            least = middle + 1
        else:
            enough = middle
    return cut(enough)


def _filled_runs(
    prompt_lengths: Sequence[int], groups: Sequence[int], lengths: Sequence[int], budget: int, packed: bool
) -> list[list[int]]:
    """Each run takes rows while they fit, which makes the fewest runs of that budget."""
    runs: list[list[int]] = []
    prompts: set[int] = set()
    tokens = longest = 0
    for row, (group, length) in enumerate(zip(groups, lengths, strict=True)):
        whole = prompt_lengths[group] + length
        more = length if group in prompts else whole
        packed_cost, padded_cost = tokens + more, (len(runs[-1]) + 1 if runs else 1) * max(longest, whole)
        if not runs or (packed_cost if packed else padded_cost) > budget:
            runs.append([])
            prompts, tokens, longest, more = set(), 0, 0, whole
        runs[-1].append(row)
        prompts.add(group)
        tokens += more
        longest = max(longest, whole)
    return runs
