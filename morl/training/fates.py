"""What the loss did with each token of a completion, for people who read it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from morl.training.collect import Experience

FATES = ("read", "masked", "clipped", "up", "down", "zero")
"""Of a token: not sampled but read; left out of the update; its gradient clipped or its weight bounded in some pass;
pushed up; pushed down; without an advantage."""
Decode = Callable[[list[int]], str | list[str]]


def fates(experience: Experience, clipped_BT: Tensor | None, mask_truncated: bool) -> Tensor:
    """The place in `FATES` of every token of this rank's completions, (B, T); -1 where there is no token.

    Args:
        clipped_BT: where the loss reported a `clip_fraction` above 0; None where it reports none.
        mask_truncated: truncated completions are left out of the update.
    """
    rollouts, rows = experience.rollouts, experience.local_rows
    advantages = experience.advantages
    given = advantages.values_B[:, None] if advantages.values_BT is None else advantages.values_BT
    shape = rollouts.completion_mask_BT.shape
    values_BT = given[rows][:, : shape[1]].expand(shape)
    left_out_B = experience.scores.dropped_B[rows]
    if mask_truncated:
        left_out_B = left_out_B | experience.scores.truncated_B[rows]
    found_BT = torch.full(shape, FATES.index("zero"))
    found_BT[values_BT > 0] = FATES.index("up")
    found_BT[values_BT < 0] = FATES.index("down")
    if clipped_BT is not None:
        found_BT[clipped_BT] = FATES.index("clipped")
    found_BT[left_out_B] = FATES.index("masked")
    found_BT[~rollouts.sampled_mask_BT] = FATES.index("read")
    found_BT[~rollouts.completion_mask_BT] = -1
    return found_BT


def pieces(ids_T: Sequence[int], fates_T: Sequence[int], decode: Decode) -> list[list[str]]:
    """Neighbours of one fate, as `[fate, text]`; a character whose tokens have several fates is shown as unreadable."""
    kept = [(token, fate) for token, fate in zip(ids_T, fates_T, strict=True) if fate >= 0]
    runs = itertools.groupby(kept, key=lambda pair: pair[1])
    return [[FATES[fate], str(decode([token for token, _ in run]))] for fate, run in runs]


def counted(fates_T: Sequence[int]) -> dict[str, int]:
    """Number of tokens of each fate that occurs."""
    return {name: count for place, name in enumerate(FATES) if (count := list(fates_T).count(place))}
