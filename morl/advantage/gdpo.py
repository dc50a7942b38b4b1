"""GDPO: every reward is normalised within its group before the rewards are added."""

from __future__ import annotations

from typing import ClassVar

import torch
from attrs import field, frozen
from torch import Tensor

from morl.advantage.deviations import Deviations, deviation_blocks, with_weight
from morl.advantage.groups import Groups, divisor, finite, snapped, unit_weights
from morl.advantage.options import DEFAULT_EPS, check_ddof, check_flag
from morl.advantage.order import in_order
from morl.advantage.presets import GDPO_PRESETS, Divisor, Knobs, Missing, Preset, counted, filled, settled
from morl.advantage.scope import Scope, scope_of_parts
from morl.advantage.weighting import ConstantWeighting, aligned, centred, check_weighting, weights_of
from morl.errors import ConfigError
from morl.types import Advantages, RewardMatrix, Weights


def textbook_gdpo(rewards_PGK: Tensor, weights_K: Tensor, eps: float = 0.0, ddof: int = 1) -> Tensor:
    """`GDPO` (P, G) as one would write it down: complete rewards, and nothing done about rounding or overflow."""
    centred_PGK = rewards_PGK - rewards_PGK.mean(1, keepdim=True)
    scores_PGK = centred_PGK / rewards_PGK.std(1, keepdim=True, correction=ddof)
    sums_PG = (scores_PGK.nan_to_num(0.0) * weights_K).sum(2)  # 0 / 0 where a reward is constant in its group
    return (sums_PG - sums_PG.mean()) / (sums_PG.std(correction=ddof) + eps)


@frozen
class GDPO:
    """Group reward-Decoupled Normalization Policy Optimization (arXiv 2601.05242, eq. 4 to 7).

        A_ijk = (r_ijk - mean_G r_ik) / std_G r_ik        S_ij = sum_k w_k A_ijk
        A_ij  = (S_ij - mean_batch S) / (std_batch S + eps)

    The batch is every completion of the rollout batch that has at least one reward.  `mean_batch S` is 0 by
    construction, because every group's S has mean 0; it is not subtracted, so that rounding cannot become signal.
    Batch normalisation is therefore one positive factor, which changes neither order nor distinctness.  Only where a
    weighting gives completions of one group different weights S has another mean, and then it is subtracted.

    A reward that does not vary within a group adds exactly 0 there, so group normalisation needs no eps.  A missing
    reward is left out of its own mean and standard deviation and adds 0; a completion without any reward has advantage
    0.

    Args:
        eps: added to the standard deviation of the batch; 1e-6 by default.
        ddof: 1 divides sums of squares by n - 1, in group and in batch normalisation; 0 by n.
        batch_norm: False leaves batch normalisation out (the paper's ablation, appendix A): the result is S.
        weighting: where the weights w_k come from.
        group_eps: added to the standard deviation of each reward in its group, in units of the reward; 0 by default.
        batch_divisor: `std`, the default, divides by std + eps, `sqrt-var` by sqrt(std^2 + eps).
        missing: what a missing reward is: `skip`, the default, as above; `present` counts a completion that has only
            rewards with weight 0 in the batch; `zero-after` counts every completion there; `zero` takes 0 in place of
            the reward, before anything; `refuse` raises.
        preset: the numbers of `trl`, `verl`, `nemo-rl` or `ms-swift`; it fixes all options but the weighting.

    Raises:
        ConfigError: an option out of its range, one that the preset fixes, or one of batch normalisation without it,
            where it would do nothing.

    Two groups of two completions with totals (0, 1) and (0, 2) stay distinct:

    >>> import torch
    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]]))
    >>> GDPO(batch_norm=False)(rewards).values_B
    tensor([-0.7071,  0.7071, -1.4142,  1.4142])
    >>> GDPO(eps=0)(rewards).values_B
    tensor([-0.5477,  0.5477, -1.0954,  1.0954])
    """

    min_group_size: ClassVar[int] = 2

    eps: float | None = None
    ddof: int = field(default=1, validator=check_ddof)
    batch_norm: bool = field(default=True, validator=check_flag)
    weighting: Weights = field(factory=ConstantWeighting, validator=check_weighting)
    group_eps: float | None = None
    batch_divisor: Divisor | None = None
    missing: Missing | None = None
    preset: Preset | None = None

    def __attrs_post_init__(self) -> None:
        knobs = self._knobs()
        if self.preset is None:
            object.__setattr__(self, "eps", knobs.eps)
        if self.batch_norm:
            return
        if self.preset is not None:
            raise ConfigError(f"preset {self.preset!r} of GDPO fixes batch_norm at True; leave out one of them")
        for name, idle in (
            ("eps", knobs.eps not in (0, DEFAULT_EPS)),
            ("batch_divisor", self.batch_divisor is not None),
            ("missing", knobs.missing in ("present", "zero-after")),
        ):
            if idle:
                raise ConfigError(
                    f"{name} of GDPO belongs to batch normalisation; batch_norm=False leaves"
                    f" {name}={getattr(self, name)} unused"
                )

    def _knobs(self) -> Knobs:
        given = {"eps": self.eps, "group_eps": self.group_eps}
        return settled(self, GDPO_PRESETS, **given, batch_divisor=self.batch_divisor, missing=self.missing)

    def _std(self, parts: Deviations, group_eps: float) -> Tensor:
        """Standard deviations (P, K), in units of the ranges."""
        std_PK = parts.std(self.ddof)
        if not group_eps:
            return std_PK
        # In units of the range, where there is one; a tensor over a tensor, for the ranges may be subnormal.
        eps_PK = torch.full_like(std_PK, group_eps * parts.shrink) / parts.range_PK
        return std_PK + torch.where(parts.range_PK > 0, eps_PK, 0.0)

    @property
    def scope(self) -> Scope:
        """`batch` where batch normalisation or the weighting looks beyond the group."""
        return scope_of_parts("batch" if self.batch_norm else "group", self.weighting)

    @in_order
    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        knobs = self._knobs()
        if knobs.missing != "present":  # which adds 0 to the sum, as leaving out does
            rewards = filled(rewards, knobs.missing)
        groups = Groups.of(rewards.group_ids_B)
        weights, vary = aligned(weights_of(self.weighting, rewards), groups)
        weights, largest_weight = unit_weights(weights)
        valid_BK = with_weight(rewards, weights)
        terms_BK = torch.empty(valid_BK.shape, dtype=torch.float64, device=valid_BK.device)
        totals_B, bound_B = terms_BK.new_empty(2, len(terms_BK))
        for part, of_B, of_P, block in deviation_blocks(rewards, groups, valid_BK):
            std_PK = self._std(block, knobs.group_eps)
            scores = block.units_BK.div_(part.along(std_PK))
            of_w = weights if weights.ndim == 1 else weights[of_P if groups.each else of_B]
            # A deviation off by e moves a score z by e/std, and through the standard deviation in its denominator by up
            # to sqrt(n/(n-1)) |z| e/std more.
            error = part.along(block.error_PK / std_PK) * of_w.abs()
            bound_B[of_B] = scores.abs().mul_(error).sum(-1).mul_(1.5).add_(error.sum(-1)).view(-1)
            totals_B[of_B] = scores.mul_(of_w).sum(-1).view(-1)
            part.split(terms_BK[of_B]).copy_(scores)
        totals_B = snapped(totals_B, bound_B)

        if self.batch_norm:
            batch = Groups.whole(totals_B)
            if vary:
                totals_B, terms_BK = centred(totals_B, terms_BK, batch, valid_BK, bound_B)
            std_1 = batch.std(totals_B, batch.number(counted(rewards, knobs.missing, valid_BK.any(1))), self.ddof)
            if knobs.batch_divisor == "std":
                scale = divisor(std_1, knobs.eps / largest_weight)
            else:
                root_1 = torch.full_like(std_1, knobs.eps**0.5 / largest_weight)
                scale = torch.where(std_1 > 0, std_1.hypot(root_1), torch.inf)
            totals_B, terms_BK = totals_B / scale, terms_BK.div_(scale)
        else:
            totals_B, terms_BK = totals_B * largest_weight, terms_BK.mul_(largest_weight)
        dtype = rewards.values_BK.dtype
        return Advantages(finite(totals_B, dtype), finite(terms_BK, dtype))
