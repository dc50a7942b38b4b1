"""REINFORCE++: advantages normalised over the batch."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from attrs import field, frozen

from morl.advantage import ConstantWeighting, Groups, divisor, finite, weighted_sums, weights_of
from morl.advantage.options import DEFAULT_EPS, check_ddof, check_eps
from morl.advantage.weighting import check_weighting
from morl.types import Advantages, RewardMatrix, Weights
from morl_estimators.options import choice

Baseline = Literal["batch", "group"]


@frozen
class ReinforcePlusPlus:
    """REINFORCE++ (arXiv 2501.03262) on the weighted sum of the rewards, s_ij = sum_k w_k r_ijk.

        batch:  A_ij = (s_ij - mean_batch s) / (std_batch s + eps)
        group:  S_ij = s_ij - mean_G s_i,   A_ij = S_ij / (std_batch S + eps)

    `group` is REINFORCE++ with a baseline (of the group, as in RLOO's relatives); its S has the mean 0 over the batch
    by construction.  Without a baseline of the group, a completion is compared with those of all prompts, so a prompt
    that is easy makes all of its completions good, and one completion per prompt suffices; groups in which nothing
    varies then have advantages other than 0, which dynamic sampling does not know: leave it off.

    A missing reward is left out of its own mean and adds nothing.

    Read: notes on the paper; its token-level KL term belongs to the loss (`loss.kl_coef`).

    Args:
        baseline: `batch`, or `group`.
        eps: added to the deviation of the batch, in units of the weighted reward.
        ddof: 1 divides the sum of squares by n - 1; 0 by n.
        weighting: where the weights w_k come from.

    Raises:
        ConfigError: an option out of its range.

    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[1.0], [3.0]], [[1.0], [1.0]]]))
    >>> ReinforcePlusPlus(eps=0)(rewards).values_B                      # mean 1.5, deviation 1
    tensor([-0.5000,  1.5000, -0.5000, -0.5000])
    >>> ReinforcePlusPlus(baseline="group", eps=0)(rewards).values_B    # -1, 1, 0, 0 over sqrt(2/3)
    tensor([-1.2247,  1.2247,  0.0000,  0.0000])
    """

    baseline: Baseline = "batch"
    eps: float = field(default=DEFAULT_EPS, validator=check_eps)
    ddof: int = field(default=1, validator=check_ddof)
    weighting: Weights = field(factory=ConstantWeighting, validator=check_weighting)

    def __attrs_post_init__(self) -> None:
        choice("baseline of reinforce++", self.baseline, get_args(Baseline))

    @property
    def min_group_size(self) -> int:
        """Only a baseline of the group compares completions of one prompt."""
        return 2 if self.baseline == "group" else 1

    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        batch = Groups.whole(rewards.group_ids_B)
        groups = batch if self.baseline == "batch" else Groups.of(rewards.group_ids_B)
        sums = weighted_sums(rewards, groups, weights_of(self.weighting, rewards))
        peak = sums.scale_P.max()
        scale_B = groups.rows(sums.scale_P / peak)
        totals_B = sums.totals_B * scale_B
        std_1 = batch.std(totals_B, batch.number(sums.counts_B), self.ddof)
        # eps in the units of the totals; see `GRPO` for why it is a tensor.
        eps_1 = torch.full_like(std_1, self.eps / sums.largest_weight * sums.shrink) / peak
        over_1 = divisor(std_1, eps_1)
        dtype = rewards.values_BK.dtype
        terms_BK = sums.terms_BK * scale_B[:, None]
        return Advantages(finite(totals_B / over_1, dtype), finite(terms_BK / over_1, dtype))
