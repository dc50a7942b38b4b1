"""The order in which rows are visited, as a function of seed and position alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def rows(seed: int, start: int, count: int, size: int, *, shuffle: bool = True) -> list[int]:
    """Rows at the positions `start` to `start + count - 1` of an endless walk through the data, epoch by epoch.

    Nothing has to be saved or restored: a resumed run, and any number of ranks, find the same rows at the same
    positions.

    Args:
        seed: of the run, >= 0; another seed, another order.
        start: first position, counted from the start of training.
        count: of rows; may reach over the end of an epoch.
        size: rows of the data set.
        shuffle: visit each epoch in an order of its own; False keeps the order of the data.

    >>> rows(seed=0, start=3, count=4, size=5, shuffle=False)
    [3, 4, 0, 1]
    >>> sorted(rows(seed=0, start=5, count=5, size=5))
    [0, 1, 2, 3, 4]
    """
    assert size > 0
    assert start >= 0
    assert count >= 0
    found: list[int] = []
    while len(found) < count:
        epoch, offset = divmod(start + len(found), size)
        order = _permutation(seed, epoch, size) if shuffle else np.arange(size)
        found += order[offset : offset + count - len(found)].tolist()
    return found


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    # NumPy promises the raw words of a bit generator from version to version, but not `Generator.permutation` (NEP 19).
    words = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(size)
    return np.argsort(words, kind="stable")
