"""GRPO on the weighted sum of the rewards, with and without division by the group's standard deviation."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import field, frozen
from torch import Tensor

from morl.advantage.groups import Groups, divisor, finite
from morl.advantage.options import check_ddof
from morl.advantage.order import in_order
from morl.advantage.presets import GRPO_PRESETS, Knobs, Missing, Preset, Scale, batch_std, filled, settled
from morl.advantage.scope import Scope, scope_of_parts
from morl.advantage.sums import weighted_sums
from morl.advantage.weighting import ConstantWeighting, check_weighting, weights_of
from morl.errors import ConfigError
from morl.types import Advantages, RewardMatrix, Weights


def textbook_grpo(rewards_PGK: Tensor, weights_K: Tensor, eps: float = 0.0, ddof: int = 1) -> Tensor:
    """`GRPO` (P, G) as one would write it down: complete rewards, and nothing done about rounding or overflow."""
    sums_PG = (rewards_PGK * weights_K).sum(2)
    return (sums_PG - sums_PG.mean(1, keepdim=True)) / (sums_PG.std(1, keepdim=True, correction=ddof) + eps)


def textbook_grpo_no_std(rewards_PGK: Tensor, weights_K: Tensor) -> Tensor:
    """`GRPONoStd` (P, G) in the same manner."""
    sums_PG = (rewards_PGK * weights_K).sum(2)
    return sums_PG - sums_PG.mean(1, keepdim=True)


@frozen
class GRPO:
    """Group Relative Policy Optimization on the weighted sum of the rewards (GDPO paper, eq. 1 and 2).

        s_ij = sum_k w_k r_ijk        A_ij = (s_ij - mean_G s_i) / (std_G s_i + eps)

    Source: arXiv 2402.03300 for one reward; arXiv 2601.05242 for the sum.  A missing reward is left out of its own
    mean and adds nothing to the sum; a completion without any reward has advantage 0 and does not enter `std_G`.
    Weights are applied to r - mean_G r, which is the same unless a weighting tells completions of one group apart.

    Args:
        eps: added to the group's standard deviation, in units of the weighted reward.  0 divides by that alone; a
            group whose sums are all equal has advantage 0 either way.  1e-6 by default.
        ddof: 1 divides the sum of squares by G - 1, the sample standard deviation of the paper; 0 by G.
        weighting: where the weights w_k come from.
        scale: `group`, the default, divides by the standard deviation of the group's sums, `batch` by that of all sums
            of the batch about the mean of the batch.
        missing: what a missing reward is: `skip`, the default, as above; `present` takes it as 0 in the sum of a
            completion that has any reward, be its weight 0; `zero` takes it as 0 everywhere; `refuse` raises.
        preset: the numbers of `trl`, `verl`, `nemo-rl` or `ms-swift`; it fixes eps, ddof, missing, and, but for TRL and
            ms-swift, which leave it open, scale.

    Raises:
        ConfigError: an option out of its range, or one that the preset fixes.

    Two groups of two completions with totals (0, 1) and (0, 2) collapse into one and the same answer:

    >>> import torch
    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]]))
    >>> GRPO(eps=0)(rewards).values_B
    tensor([-0.7071,  0.7071, -0.7071,  0.7071])
    """

    min_group_size: ClassVar[int] = 2

    eps: float | None = None
    ddof: int = field(default=1, validator=check_ddof)
    weighting: Weights = field(factory=ConstantWeighting, validator=check_weighting)
    scale: Scale | None = None
    missing: Missing | None = None
    preset: Preset | None = None

    def __attrs_post_init__(self) -> None:
        knobs = self._knobs()
        check_missing(self, self.missing)
        if self.preset is None:
            object.__setattr__(self, "eps", knobs.eps)

    def _knobs(self) -> Knobs:
        return settled(self, GRPO_PRESETS, eps=self.eps, missing=self.missing, scale=self.scale)

    @property
    def scope(self) -> Scope:
        """`batch` where the scale or the weighting looks beyond the group."""
        return scope_of_parts("batch" if self.scale == "batch" else "group", self.weighting)

    @in_order
    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        knobs = self._knobs()
        rewards = filled(rewards, knobs.missing)
        groups = Groups.of(rewards.group_ids_B)
        weights = weights_of(self.weighting, rewards)
        sums = weighted_sums(rewards, groups, weights)
        std_P = groups.std(sums.totals_B, groups.number(sums.counts_B), self.ddof)
        if knobs.scale == "batch":
            std_1, unit = batch_std(rewards, weights, self.ddof)
            # In the units of each group's totals, like its own; a group without spread stays 0.
            batch_P = std_1 / sums.scale_P * (unit / sums.largest_weight * sums.shrink)
            std_P = torch.where(std_P > 0, batch_P, 0.0)
        # eps in the units of the totals.  Not as a number divided by a tensor: torch multiplies that by the reciprocal,
        # which overflows for a subnormal scale.
        eps_P = torch.full_like(std_P, knobs.eps / sums.largest_weight * sums.shrink) / sums.scale_P
        over_B = groups.rows(divisor(std_P, eps_P))
        dtype = rewards.values_BK.dtype
        return Advantages(finite(sums.totals_B / over_B, dtype), finite(sums.terms_BK.div_(over_B[:, None]), dtype))


@frozen
class GRPONoStd:
    """GRPO without division by the standard deviation: Dr. GRPO (arXiv 2503.20783), also used for DeepSeek-V3.2.

        s_ij = sum_k w_k r_ijk        A_ij = s_ij - mean_G s_i

    Missing rewards are treated as by `GRPO`.  The advantages bear the units of the weighted reward; those that the
    dtype cannot hold become its largest number.

    Args:
        weighting: where the weights w_k come from.
        missing: as of `GRPO`.
        preset: the rule for missing rewards of `trl`, `verl`, `nemo-rl` or `ms-swift`.

    Raises:
        ConfigError: an unknown preset or rule, or both.

    >>> import torch
    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]]))
    >>> GRPONoStd()(rewards).values_B
    tensor([-0.5000,  0.5000, -1.0000,  1.0000])
    """

    min_group_size: ClassVar[int] = 2

    weighting: Weights = field(factory=ConstantWeighting, validator=check_weighting)
    missing: Missing | None = None
    preset: Preset | None = None

    def __attrs_post_init__(self) -> None:
        self._knobs()
        check_missing(self, self.missing)

    def _knobs(self) -> Knobs:
        return settled(self, GRPO_PRESETS, missing=self.missing)

    @property
    def scope(self) -> Scope:
        """That of the weighting."""
        return scope_of_parts("group", self.weighting)

    @in_order
    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        rewards = filled(rewards, self._knobs().missing)
        groups = Groups.of(rewards.group_ids_B)
        sums = weighted_sums(rewards, groups, weights_of(self.weighting, rewards))
        scale_P = finite(sums.scale_P * sums.largest_weight, torch.float64)
        scale_B, shrink = groups.rows(scale_P), sums.shrink
        values_B = sums.totals_B * scale_B / shrink
        contributions_BK = sums.terms_BK.mul_(scale_B[:, None]).div_(shrink)
        dtype = rewards.values_BK.dtype
        return Advantages(finite(values_B, dtype), finite(contributions_BK, dtype))


def check_missing(instance: object, missing: str | None) -> None:
    """A sum has no statistics of the batch in which a missing reward could count."""
    if missing == "zero-after":
        raise ConfigError(f"missing='zero-after' is a rule of GDPO; {type(instance).__name__} has skip, present, zero")
