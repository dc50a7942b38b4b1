"""Randomness without state: every draw is a function of the run's seed, its purpose and its place in the run.

Nothing has to be saved to resume a run exactly, and no draw depends on how many ranks share the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

ROLLOUT, EVALUATION, MINI_BATCHES, INITIALISATION, DROPOUT, ROUNDING, EPISODE, TURN = range(8)
"""Purposes; each has a stream of its own."""


def derive(seed: int, purpose: int, *place: int) -> int:
    """A seed in [0, 2**63) for one draw.

    >>> derive(0, ROLLOUT, 5) == derive(0, ROLLOUT, 5), derive(0, ROLLOUT, 5) == derive(0, EVALUATION, 5)
    (True, False)
    """
    state = np.random.SeedSequence([seed, purpose, *place]).generate_state(1, np.uint64)[0]
    return int(state) >> 1


@contextmanager
def private_torch_rng(seed: int) -> Iterator[None]:
    """Within it torch's global generators start from `seed`; afterwards they are where the caller left them.

    For the little that draws from them: the initial weights of LoRA adapters, and their dropout.
    """
    # Asking for the state of a GPU would start a context on it, before Lightning has chosen this rank's.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive(seed, INITIALISATION))
        yield
