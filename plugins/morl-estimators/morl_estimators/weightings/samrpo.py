"""SA-MRPO: rewards count less the nearer they are to their ceiling."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import field, frozen
from torch import Tensor

from morl.advantage import Groups
from morl.types import RewardMatrix
from morl_estimators.options import bounds_given, number


@frozen
class SAMRPO:
    """Saturation-aware weights (SA-MRPO, arXiv 2608.16072).

        w_k <- w_k (1 - sat_k)^gamma,   sat_k = (mean_batch r_k - low_k) / (high_k - low_k)

    Read: our notes, not the paper.  `low` and `high` are the bounds of the reward, so every reward with weight has to
    have some.  A reward at its ceiling has weight 0.

    Args:
        gamma: how fast the weight falls.

    Raises:
        ConfigError: gamma that is not a finite number above 0; a reward without bounds.

    A reward in 0..1 with the mean 3/4 has a quarter of its range left, and half its weight:

    >>> from attrs import evolve
    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[1.0], [1.0], [1.0], [0.0]]]))
    >>> SAMRPO()(evolve(rewards, bounds={"r0": (0.0, 1.0)})).tolist()
    [0.5]
    """

    requires_bounds: ClassVar[bool] = True

    gamma: float = field(default=0.5)

    def __attrs_post_init__(self) -> None:
        number("gamma of sa-mrpo", self.gamma, above=0)

    def __call__(self, rewards: RewardMatrix) -> Tensor:
        """(K,), in the order of the names."""
        bounds_given("sa-mrpo", rewards)
        low_K, high_K = rewards.bounds_K2.nan_to_num().T
        # Halved before they are subtracted: bounds may be as large as numbers get.
        range_K = high_K / 2 - low_K / 2
        share_BK = (rewards.values_BK.double() / 2 - low_K / 2) / torch.where(range_K > 0, range_K, 1.0)
        share_BK = share_BK.clamp(0, 1).masked_fill(~rewards.valid_BK, 0.0)
        number_K = rewards.valid_BK.sum(0).clamp(min=1)
        saturation_K = (Groups.whole(share_BK[:, 0]).sum(share_BK)[0] / number_K).clamp(0, 1)
        return rewards.weights_K * (1 - saturation_K) ** self.gamma
