"""What every rank knows of the completions of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, compress

import torch
from attrs import field, frozen
from torch import Tensor

from morl.conversation.talk import FIGURES
from morl.types import CompletionStatus, RolloutBatch, Spans, TurnRewards


@frozen
class ConversationFigures:
    """What is counted of one conversation.

    Attributes:
        status: how it ended.
        turns: replies of the policy.
        tool_calls: in them, malformed ones included.
        failed_calls: those that could not be made, or failed.
        environment_tokens: that were not sampled.
        seconds: that the environment was busy with it.
    """

    status: CompletionStatus
    turns: int
    tool_calls: int
    failed_calls: int
    environment_tokens: int
    seconds: float

    @classmethod
    def of(cls, rollouts: RolloutBatch) -> tuple[ConversationFigures, ...]:
        """Of all completions of a batch; none where these are no conversations."""
        foreign = (rollouts.total_lengths_B - rollouts.lengths_B).tolist()
        rows = zip(rollouts.statuses, rollouts.turns, rollouts.infos, foreign, strict=True)
        return tuple(
            cls(status, len(turns), **info[FIGURES], environment_tokens=tokens)
            for status, turns, info, tokens in rows
            if FIGURES in info
        )


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
        conversations: what is counted of conversations, in the same order; none of other completions.
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

    conversations: tuple[ConversationFigures, ...] = field(default=(), kw_only=True)

    def select(self, mask_B: Tensor) -> BatchScores:
        chosen = mask_B.tolist()
        return BatchScores(
            *(column[mask_B] for column in self._columns()),
            spans=tuple(compress(self.spans, chosen)),
            turn_rewards=tuple(compress(self.turn_rewards, chosen)),
            conversations=tuple(compress(self.conversations, chosen)),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[BatchScores]) -> BatchScores:
        columns = zip(*(part._columns() for part in parts), strict=True)
        return cls(
            *map(torch.cat, columns),
            spans=tuple(chain.from_iterable(part.spans for part in parts)),
            turn_rewards=tuple(chain.from_iterable(part.turn_rewards for part in parts)),
            conversations=tuple(chain.from_iterable(part.conversations for part in parts)),
        )

    def _columns(self) -> tuple[Tensor, ...]:
        return (
            self.positions_B,
            self.values_BK,
            self.failed_BK,
            self.dropped_B,
            self.lengths_B,
            self.truncated_B,
        )
