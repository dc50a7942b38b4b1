"""What every rank knows of the completions of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, compress

import torch
from attrs import field, frozen
from torch import Tensor

from morl.types import Spans, TurnRewards


@frozen(eq=False)
class BatchScores:
    """What every rank knows of all completions, in the order of their prompts' positions.

    Attributes:
        positions_B: position of each completion's prompt in the stream of prompts.
        values_BK: rewards as they were scored, float64, NaN where missing.
        failed_BK: the provider failed.
        dropped_B: taken out of the update by the failure policy `drop`.
        lengths_B: sampled tokens.
        truncated_B: ended by a limit of tokens.
        spans: where the turns of each lie; default: one turn of all its tokens.
        turn_rewards: what the environment gave for single turns; default: nothing.
    """

    positions_B: Tensor
    values_BK: Tensor
    failed_BK: Tensor
    dropped_B: Tensor
    lengths_B: Tensor
    truncated_B: Tensor
    spans: tuple[Spans, ...] = field(kw_only=True)

    @spans.default
    def _one_turn(self) -> tuple[Spans, ...]:
        return tuple(((0, length),) for length in self.lengths_B.tolist())

    turn_rewards: tuple[TurnRewards, ...] = field(kw_only=True)

    @turn_rewards.default
    def _none(self) -> tuple[TurnRewards, ...]:
        return tuple(({},) * len(spans) for spans in self.spans)

    def select(self, mask_B: Tensor) -> BatchScores:
        chosen = mask_B.tolist()
        spans, turn_rewards = tuple(compress(self.spans, chosen)), tuple(compress(self.turn_rewards, chosen))
        return BatchScores(*(column[mask_B] for column in self._columns()), spans=spans, turn_rewards=turn_rewards)

    @classmethod
    def concatenate(cls, parts: Sequence[BatchScores]) -> BatchScores:
        columns = zip(*(part._columns() for part in parts), strict=True)
        spans = tuple(chain.from_iterable(part.spans for part in parts))
        turn_rewards = tuple(chain.from_iterable(part.turn_rewards for part in parts))
        return cls(*map(torch.cat, columns), spans=spans, turn_rewards=turn_rewards)

    def _columns(self) -> tuple[Tensor, ...]:
        return (
            self.positions_B,
            self.values_BK,
            self.failed_BK,
            self.dropped_B,
            self.lengths_B,
            self.truncated_B,
        )
