"""Randomness without state: every draw is a function of the run's seed, its purpose and its place in the run.

Nothing has to be saved to resume a run exactly, and no draw depends on how many ranks share the work.
"""

from __future__ import annotations

import numpy as np

ROLLOUT, EVALUATION, MINI_BATCHES = range(3)
"""Purposes; each has a stream of its own."""


def derive(seed: int, purpose: int, *place: int) -> int:
    """A seed in [0, 2**63) for one draw.

    >>> derive(0, ROLLOUT, 5) == derive(0, ROLLOUT, 5), derive(0, ROLLOUT, 5) == derive(0, EVALUATION, 5)
    (True, False)
    """
    state = np.random.SeedSequence([seed, purpose, *place]).generate_state(1, np.uint64)[0]
    return int(state) >> 1
