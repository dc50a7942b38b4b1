"""Laws of the order of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from morl.prompts.order import rows

seeds = st.integers(0, 2**63 - 1)
sizes = st.integers(1, 60)


@given(seeds, st.integers(0, 1000), sizes, st.booleans())
def test_every_epoch_visits_every_row_once(seed, epoch, size, shuffle):
    assert sorted(rows(seed, epoch * size, size, size, shuffle=shuffle)) == list(range(size))


@given(seeds, st.integers(0, 200), st.integers(0, 100), st.integers(0, 100), sizes, st.booleans())
def test_a_walk_may_be_cut_anywhere(seed, start, a, b, size, shuffle):
    parts = rows(seed, start, a, size, shuffle=shuffle) + rows(seed, start + a, b, size, shuffle=shuffle)
    assert parts == rows(seed, start, a + b, size, shuffle=shuffle)
    assert len(parts) == a + b


@given(st.integers(0, 200), st.integers(0, 100), sizes)
def test_without_shuffle_the_data_keeps_its_order(start, count, size):
    assert rows(0, start, count, size, shuffle=False) == [position % size for position in range(start, start + count)]


def test_epochs_and_seeds_differ():
    orders = [tuple(rows(seed, epoch * 50, 50, 50)) for seed in range(5) for epoch in range(5)]
    assert len(set(orders)) == 25
    assert tuple(range(50)) not in orders


def test_each_row_is_equally_likely_everywhere():
    size, trials = 8, 4000
    counts = np.zeros((size, size))
    for seed in range(trials):
        counts[np.arange(size), rows(seed, 0, size, size)] += 1
    expected = trials / size
    # Chi-square of 49 degrees of freedom; 100 is beyond the 99.99th percentile.
    assert ((counts - expected) ** 2 / expected).sum() < 100


def test_the_order_stays_what_it_was():
    # A run that is resumed with another version of morl or NumPy must go on with the rows it would have seen.
    assert rows(seed=7, start=0, count=10, size=10) == PINNED


PINNED = [6, 3, 4, 9, 0, 2, 8, 7, 5, 1]
