"""Parts of the studies, to take estimators apart: what of GDPO is its scale, what its distinct advantages?"""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from morl.advantage import GDPO, Groups, GRPONoStd
from morl.types import Advantages, RewardMatrix

_STEPS = 2.0**30
"""Totals that are equal at this resolution of the largest one are one: they differ by rounding."""


@frozen
class QuantisedGDPO:
    """GDPO that tells no more completions apart than GRPO does, on the scale of GDPO.

    GRPO's advantages depend on the weighted total alone, so completions of one group with equal totals are one to it.
    Each gets the mean of the scores that GDPO (arXiv 2601.05242, eq. 4 to 6) gives them, and the scores of a group are
    then scaled so that their root mean square is that of GDPO's, as is that of the batch.  If distinct advantages are
    what makes GDPO learn, this estimator does not learn as well.  Where all scores of equal totals cancel nothing is
    left of them, and the group adds nothing.

    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 4.0], [3.0, 1.0], [0.0, 0.0], [1.0, 1.0]]]))
    >>> len(GDPO(eps=0)(rewards).values_B.unique()), len(QuantisedGDPO()(rewards).values_B.unique())
    (4, 3)
    """

    min_group_size: ClassVar[int] = 2
    scope: ClassVar[str] = "batch"

    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        fine_BK = GDPO()(rewards).contributions_BK.double()
        groups, cells = Groups.of(rewards.group_ids_B), Groups.of(_cells(rewards))
        peak = fine_BK.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
        coarse_BK = cells.rows(cells.sum(fine_BK / peak) / cells.sizes_P[:, None])
        size_P, coarse_P = (_sizes(groups, some_BK.sum(1)) for some_BK in (fine_BK / peak, coarse_BK))
        # What is left by rounding where scores cancel is no signal.
        scale_P = torch.where(coarse_P > size_P * 2.0**-20, size_P / coarse_P, 0.0)
        parts_BK = coarse_BK * groups.rows(scale_P)[:, None] * peak
        dtype = rewards.values_BK.dtype
        return Advantages(parts_BK.sum(1).to(dtype), parts_BK.to(dtype))


@frozen
class BatchStdWeighting:
    """Weights divided by the standard deviation of their reward over the batch: rewards of one scale for a plain sum.

    Args:
        ddof: 1 divides the sum of squares by n - 1; 0 by n.
    """

    scope: ClassVar[str] = "batch"

    ddof: int = 1

    def __call__(self, rewards: RewardMatrix) -> Tensor:
        """w_k / std_batch(r_k), (K,); 0 for a reward that does not vary in the batch."""
        stds = []
        for values_B, valid_B in zip(rewards.values_BK.double().T, rewards.valid_BK.T, strict=True):
            present_B = values_B[valid_B].sort().values  # in one order, whatever that of the completions
            varies = len(present_B) > self.ddof and bool(present_B[0] < present_B[-1])
            stds.append(float(present_B.std(correction=self.ddof)) if varies else float("inf"))
        return rewards.weights_K / torch.tensor(stds, dtype=torch.float64)


def _cells(rewards: RewardMatrix) -> Tensor:
    """Which completions of a group have equal totals; those without any reward are by themselves."""
    totals_B = GRPONoStd()(rewards).values_B.double()
    steps_B = (totals_B / totals_B.abs().max().clamp(min=torch.finfo(torch.float64).tiny) * _STEPS).round()
    groups_B = torch.unique(rewards.group_ids_B, return_inverse=True)[1]
    keys_B3 = torch.stack([groups_B, steps_B.long(), rewards.valid_BK.any(1).long()], 1)
    inverse_B: Tensor = torch.unique(keys_B3, dim=0, return_inverse=True)[1]
    return inverse_B


def _sizes(groups: Groups, values_B: Tensor) -> Tensor:
    """Root of the sum of squares over each group, of values that are at most K in size."""
    peak = values_B.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    return groups.sum((values_B / peak).square()).sqrt() * peak
