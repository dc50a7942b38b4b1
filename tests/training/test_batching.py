from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morl.runtime.exchange import Exchange
from morl.training.batching import micro_batches, mini_batches


@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 5))
def test_mini_batches_deal_out_every_group_once_and_evenly(groups, count, step):
    parts = mini_batches(groups, count, seed=0, step=step, epoch=0)
    assert sorted(torch.cat(parts).tolist()) == list(range(groups))
    sizes = [len(part) for part in parts]
    assert len(parts) == min(count, groups)
    assert max(sizes) - min(sizes) <= 1


def test_mini_batches_differ_between_steps_and_epochs_and_repeat_for_a_seed():
    def deal(step, epoch, seed=0):
        return [part.tolist() for part in mini_batches(64, 4, seed, step, epoch)]

    assert deal(0, 0) == deal(0, 0)
    assert deal(0, 0) != deal(1, 0)
    assert deal(0, 0) != deal(0, 1)
    assert deal(0, 0) != deal(0, 0, seed=1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=30), st.integers(1, 60))
def test_micro_batches_are_neighbours_within_the_budget_the_largest_first(rows, budget):
    groups, lengths = sorted(group for group, _ in rows), [length for _, length in rows]
    prompts = [5, 1, 9, 3]
    runs = micro_batches(prompts, groups, lengths, budget)
    assert [row for run in sorted(runs) for row in run] == list(range(len(rows)))
    sizes = [
        sum(lengths[row] for row in run) + sum(prompts[group] for group in {groups[row] for row in run}) for run in runs
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size <= budget or len(run) == 1 for size, run in zip(sizes, runs, strict=True))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=30), st.integers(1, 60))
def test_padded_micro_batches_count_every_row_at_the_longest(rows, budget):
    groups, lengths = sorted(group for group, _ in rows), [length for _, length in rows]
    prompts = [5, 1, 9, 3]
    runs = micro_batches(prompts, groups, lengths, budget, packed=False)
    assert [row for run in sorted(runs) for row in run] == list(range(len(rows)))
    sizes = [len(run) * max(prompts[groups[row]] + lengths[row] for row in run) for run in runs]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size <= budget or len(run) == 1 for size, run in zip(sizes, runs, strict=True))


@pytest.mark.parametrize("packed", [True, False])
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=7), budget=st.integers(1, 60)
)
def test_micro_batches_are_few_and_the_largest_is_as_small_as_it_can_be(packed, rows, budget):
    groups, lengths = sorted(group for group, _ in rows), [length for _, length in rows]
    prompts = [5, 1, 9, 3]

    def cost(run):
        if packed:
            return sum(lengths[row] for row in run) + sum(prompts[group] for group in {groups[row] for row in run})
        return len(run) * max(prompts[groups[row]] + lengths[row] for row in run)

    def costs(runs):
        """Of a single row, which is a run whatever it costs, nothing that another cut could save."""
        return max([cost(run) for run in runs if len(run) > 1], default=0)

    def cuts():
        for borders in product([True, False], repeat=len(rows) - 1):
            edges = [0, *(row for row, border in enumerate(borders, 1) if border), len(rows)]
            yield [list(range(*edge)) for edge in pairwise(edges)]

    fitting = [runs for runs in cuts() if costs(runs) <= budget]
    fewest = min(map(len, fitting))
    found = micro_batches(prompts, groups, lengths, budget, packed=packed)
    assert len(found) == fewest
    assert costs(found) == min(costs(runs) for runs in fitting if len(runs) == fewest)


@given(st.integers(0, 50), st.integers(1, 8))
def test_shares_of_all_ranks_are_the_whole_in_order(count, size):
    shares = [Exchange(rank, size).share(count) for rank in range(size)]
    assert [index for share in shares for index in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
