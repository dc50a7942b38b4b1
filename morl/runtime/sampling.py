"""What is asked of anybody's rollout backend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import evolve

from morl.copies import copied
from morl.errors import PluginError
from morl.hookspecs import RolloutBackend
from morl.types import EncodedPrompt, RolloutBatch, Sampling


def sample(
    backend: RolloutBackend, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]
) -> RolloutBatch:
    """`n` completions of each prompt, as the backend draws them.

    The backend sees copies of the prompts, and the batch is a copy around the prompts themselves: a backend that keeps
    what it gave, and fills it again at the next call, changes nothing here.

    Raises:
        PluginError: no `RolloutBatch`, or one of other completions than were asked for.
    """
    batch = backend.generate(copied(list(prompts)), n, sampling, list(seeds))
    name = f"the rollout backend {type(backend).__name__}"
    if not isinstance(batch, RolloutBatch):
        raise PluginError(f"{name} returned {type(batch).__name__}; expected a morl.types.RolloutBatch")
    groups_B = torch.arange(len(prompts)).repeat_interleave(n)
    if not torch.equal(batch.group_ids_B, groups_B):
        raise PluginError(
            f"{name} returned {len(batch)} completions with the group ids {batch.group_ids_B.tolist()[:8]}..; expected"
            f" {len(groups_B)}, {n} of each of {len(prompts)} prompts side by side: {groups_B.tolist()[:8]}.."
            " (check it with morl.testing.check_rollout_backend)"
        )
    if getattr(backend, "opens_prompts", False):  # conversations, see `morl.runtime.conversations`
        return batch
    return evolve(copied(batch), prompts=tuple(prompts))
