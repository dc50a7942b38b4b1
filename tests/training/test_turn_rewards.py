"""Rewards that an environment gives for turns go with their completions, from the rollouts to the estimator."""

from __future__ import annotations

import torch

from morl.runtime.scores import BatchScores

GIVEN = (({"found": 1.0}, {}), ({},), ({}, {"found": 0.0}))
SPANS = (((0, 1), (2, 3)), ((0, 2),), ((0, 1), (1, 2)))


def scores(rows, **turns):
    B = len(rows)
    zeros = torch.zeros(B, 1, dtype=torch.bool)
    lengths = torch.tensor([2] * B)
    spans = tuple(SPANS[row] for row in rows)
    return BatchScores(
        torch.tensor(rows), torch.zeros(B, 1), zeros, zeros[:, 0], lengths, zeros[:, 0], spans=spans, **turns
    )


def test_they_are_selected_and_gathered_like_spans():
    parts = [scores(rows, turn_rewards=tuple(GIVEN[row] for row in rows)) for rows in ([0, 1], [2])]
    whole = BatchScores.concatenate(parts)
    assert whole.turn_rewards == GIVEN
    assert whole.select(torch.tensor([False, True, True])).turn_rewards == GIVEN[1:]


def test_by_default_no_turn_was_given_any():
    assert scores([0, 1, 2]).turn_rewards == (({}, {}), ({},), ({}, {}))
