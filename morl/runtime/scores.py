"""What every rank knows of the completions of all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor


@frozen(eq=False)
class BatchScores:
    """What every rank knows of all completions, in the order of their prompts' positions.

    Attributes:
        positions_B: position of each completion's prompt in the stream of prompts.
        values_BK: rewards as they were scored, float64, NaN where missing.
        failed_BK: the provider failed.
        dropped_B: taken out of the update by the failure policy `drop`.
        lengths_B: tokens.
        truncated_B: ended by the token limit.
    """

    positions_B: Tensor
    values_BK: Tensor
    failed_BK: Tensor
    dropped_B: Tensor
    lengths_B: Tensor
    truncated_B: Tensor

    def select(self, mask_B: Tensor) -> BatchScores:
        return BatchScores(*(column[mask_B] for column in self._columns()))

    @classmethod
    def concatenate(cls, parts: Sequence[BatchScores]) -> BatchScores:
        return cls(*(torch.cat(columns) for columns in zip(*(part._columns() for part in parts), strict=True)))

    def _columns(self) -> tuple[Tensor, ...]:
        return (
            self.positions_B,
            self.values_BK,
            self.failed_BK,
            self.dropped_B,
            self.lengths_B,
            self.truncated_B,
        )
