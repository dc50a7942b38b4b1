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

    There are as few runs as can be, and the largest is as small as it can be, for that is what takes memory.  It
    comes first: tensors of the others then fit into the memory that it leaves, which smaller ones would only split up.

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

    def cut(budget: int) -> list[tuple[int, list[int]]]:
        return _filled_runs(prompt_lengths, groups, lengths, budget, packed)

    fewest = len(cut(budget))
    least, enough = 1, budget
    while least < enough and fewest > 1:
        middle = (least + enough) // 2
        if len(cut(middle)) > fewest:
            least = middle + 1
        else:
            enough = middle
    return [run for _, run in sorted(cut(enough), key=lambda run: -run[0])]


def _filled_runs(
    prompt_lengths: Sequence[int], groups: Sequence[int], lengths: Sequence[int], budget: int, packed: bool
) -> list[tuple[int, list[int]]]:
    """Runs with their tokens; each takes rows while they fit, which makes the fewest runs of that budget."""
    runs: list[tuple[int, list[int]]] = []
    run: list[int] = []
    prompts: set[int] = set()
    tokens = longest = 0
    for row, (group, length) in enumerate(zip(groups, lengths, strict=True)):
        whole = prompt_lengths[group] + length
        longest = max(longest, whole)
        more = (length if group in prompts else whole) if packed else (len(run) + 1) * longest - tokens
        if run and tokens + more > budget:
            runs.append((tokens, run))
            run, prompts, tokens, longest, more = [], set(), 0, whole, whole
        run.append(row)
        prompts.add(group)
        tokens += more
    return [*runs, (tokens, run)] if run else runs
