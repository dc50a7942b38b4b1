"""DVAO: rewards count by how much they vary in the group."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import frozen
from torch import Tensor

from morl.advantage import Groups, deviation_blocks, unit_weights, with_weight
from morl.advantage.scope import Scope
from morl.types import RewardMatrix


@frozen
class DVAO:
    """Dynamic Variance-adaptive Advantage Optimization (arXiv 2605.25604).

        w_ik = w_k s_ik / sum_l |w_l| s_il,   s_ik = std_G r_ik

    With `gdpo` this makes sum_k w_k (r_k - mean_G r_k) / sum_l w_l s_l: no advantage exceeds, in size, the largest that
    the rewards have by themselves.  The paper has no batch normalisation: set `batch_norm: false`.  A reward that does
    not vary in a group has weight 0 there.

    Read: the abstract, and the formula as re-implemented in the released code of DARA, for math and for tool calling
    alike (ddof 0, and 0 where the denominator is at most 1e-8; here it is 0 only where no reward varies).  Set the
    `ddof` of the estimator to 0 for the same numbers.

    One group, two rewards with standard deviations 1 and 3: weights 1/4 and 3/4.

    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 0.0], [1.0, 3.0], [2.0, 6.0]]]))
    >>> DVAO()(rewards)[0].tolist()
    [0.25, 0.75]
    """

    scope: ClassVar[Scope] = "group"

    def __call__(self, rewards: RewardMatrix) -> Tensor:
        """(B, K), equal within each group."""
        groups = Groups.of(rewards.group_ids_B)
        weights_K, _ = unit_weights(rewards.weights_K)
        range_PK, std_PK = weights_K.new_empty(2, len(groups.sizes_P), len(weights_K))
        for _, _, of_P, block in deviation_blocks(rewards, groups, with_weight(rewards)):
            range_PK[of_P], std_PK[of_P] = block.range_PK * weights_K.abs(), block.std(ddof=1)
        peak_P1 = range_PK.amax(1, keepdim=True)
        peak_P1 = torch.where(peak_P1 > 0, peak_P1, 1.0)
        # In units of the largest weighted range, so that no sum overflows.
        size_PK = std_PK * (range_PK / peak_P1)
        total_P1 = size_PK.sum(1, keepdim=True)
        share_PK = size_PK / torch.where(total_P1 > 0, total_P1, 1.0)
        return groups.rows(share_PK * weights_K.sign())
