"""MaxRL: the gradient of maximum likelihood, from rewards that are 0 or more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from attrs import field, frozen
from torch import Tensor

from morl.advantage import ConstantWeighting, Groups, finite, in_order, unit_weights, weighted_sums, weights_of
from morl.advantage.scope import Scope, scope_of_parts
from morl.advantage.weighting import check_weighting
from morl.errors import ConfigError, RewardError
from morl.types import Advantages, RewardMatrix, Weights


@frozen
class MaxRL:
    """Maximum Likelihood Reinforcement Learning (arXiv 2602.02710), on the weighted sum s_ij = sum_k w_k r_ijk.

        A_ij = (s_ij - mean_G s_i) / mean_G s_i,   0 where mean_G s_i is 0

    A prompt that is rarely solved weighs more than under `grpo`.  Defined for rewards and weights of 0 or more, and
    refused for others.  A missing reward is left out of its own mean and adds nothing; mean_G s is the sum of these
    means.

    Read: the project's page and notes.

    Args:
        weighting: where the weights w_k come from.

    Raises:
        ConfigError: bounds that reach below 0, a negative weight.
        RewardError: a negative reward, by name.

    One of four is solved: the mean is 1/4.

    >>> MaxRL()(RewardMatrix.from_groups(torch.tensor([[[1.0], [0.0], [0.0], [0.0]]]))).values_B
    tensor([ 3., -1., -1., -1.])
    """

    min_group_size: ClassVar[int] = 2

    weighting: Weights = field(factory=ConstantWeighting, validator=check_weighting)

    @property
    def scope(self) -> Scope:
        """`group` with a weighting that is: no completion of another prompt matters."""
        return scope_of_parts("group", self.weighting)

    def check_bounds(self, bounds: Mapping[str, tuple[float, float]], weights: Mapping[str, float]) -> None:
        """Whether rewards and weights are 0 or more, as far as this is known before training."""
        for name, weight in weights.items():
            if weight < 0:
                raise ConfigError(f"maxrl needs weights of 0 or more; rewards.{name}.weight is {weight:g}")
            if weight > 0 and bounds.get(name, (0.0, 0.0))[0] < 0:
                raise ConfigError(
                    f"maxrl needs rewards of 0 or more; the bounds of {name} are {list(bounds[name])}: shift the"
                    " reward, or take another estimator"
                )

    @in_order
    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        weights = weights_of(self.weighting, rewards)
        if (weights < 0).any():
            raise ConfigError("maxrl needs weights of 0 or more, and its weighting gives negative ones")
        weights, _ = unit_weights(weights)  # a common factor changes nothing
        weighted_BK = self._weighted(rewards, weights)
        groups = Groups.of(rewards.group_ids_B)
        sums = weighted_sums(rewards, groups, weights)
        peak_P = groups.max(weighted_BK.amax(1))
        peak_P = torch.where(peak_P > 0, peak_P, torch.inf)  # infinity makes the advantages 0
        number_PK = groups.number(rewards.valid_BK).clamp(min=1)
        mean_P = (groups.sum(weighted_BK / groups.rows(peak_P)[:, None]) / number_PK).sum(1)
        # A range is at most as large as the largest value; where nothing varies `scale_P` is 1, and the totals are 0.
        scale_P = (sums.scale_P / peak_P).clamp(max=1)
        scale_B = groups.rows(scale_P / torch.where(mean_P > 0, mean_P, torch.inf))
        dtype = rewards.values_BK.dtype
        return Advantages(finite(sums.totals_B * scale_B, dtype), finite(sums.terms_BK * scale_B[:, None], dtype))

    def _weighted(self, rewards: RewardMatrix, weights: Tensor) -> Tensor:
        """Weighted rewards (B, K), 0 where missing."""
        weighted_BK = rewards.values_BK.double().masked_fill(~rewards.valid_BK, 0.0) * weights
        if (weighted_BK < 0).any():
            row, column = (weighted_BK < 0).nonzero()[0].tolist()
            raise RewardError(
                f"maxrl needs rewards of 0 or more; reward {rewards.names[column]!r} of completion {row} is"
                f" {float(rewards.values_BK[row, column]):g}"
            )
        return weighted_BK
