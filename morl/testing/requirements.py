"""What the conformance checks have in common."""

from __future__ import annotations

import random

import numpy as np
import torch


def require(kept: bool, otherwise: str) -> None:
    """Ends a check that found a fault.

    Raises:
        AssertionError: says what is not kept.
    """
    if not kept:
        raise AssertionError(otherwise)


def random_states() -> tuple[object, ...]:
    """The global generators of `random`, numpy and torch, to be compared later."""
    kind, keys, *rest = np.random.get_state()
    return random.getstate(), kind, np.asarray(keys).tolist(), rest, torch.get_rng_state().tolist()
