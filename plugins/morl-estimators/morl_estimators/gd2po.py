"""GD2PO: completions whose rewards contradict each other are left out."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from attrs import field, frozen
from torch import Tensor

from morl.advantage import (
    ConstantWeighting,
    Groups,
    centred,
    divisor,
    finite,
    group_deviations,
    in_order,
    snapped,
    unit_weights,
    weights_of,
)
from morl.advantage.options import DEFAULT_EPS, check_ddof, check_eps
from morl.advantage.weighting import check_weighting
from morl.errors import ConfigError
from morl.types import Advantages, RewardMatrix, Weights
from morl_estimators.options import choice, flag, number

Form = Literal["hard", "snr"]
_SIGN = 1e-8
"""Normalised rewards that are no larger have no sign, as in the released code."""
_TIE = 1e-9
"""Share of sum |a| by which a signal-to-noise ratio may miss `tau` for rounding: ties are common, and kept."""


@frozen
class GD2PO:
    """Group Dynamic reward-Decoupled Policy Optimization (GD2PO, arXiv 2606.16771).

        a_ijk = w_k (r_ijk - mean_G r_ik) / std_G r_ik
        a completion is in conflict where some a_k > 0 and some a_k < 0
        hard:  those in conflict are left out
        snr:   of those only the ones with |sum_k a_k| / sum_k |a_k| < tau
        S_ij  = (sum_k a_ijk) * share of its group that is kept
        A_ij  = (S_ij - mean_kept S) / (std_kept S + eps),   0 for those left out

    Mean and deviation run over the kept completions of the batch.  Where fewer than two are kept, or all of their S are
    equal, every advantage is 0; the released code fails there.

    Read: the released code for tool calling and for safety (`ray_trainer.py` of each), which whitens tokens where this
    whitens completions, has no weights, and offers the share of the group apart from `snr`.  It adds 1e-8, in that for
    safety 1e-6, to sum_k |a_k|, so that a completion exactly at `tau` may fall to either side; here it is kept.

    Args:
        form: `hard`, or `snr`.
        tau: of `snr`.
        share: whether S is multiplied by the share of the group that is kept.
        eps: added to the deviation of the batch.
        ddof: 1 divides sums of squares by n - 1; 0 by n.
        weighting: where the weights w_k come from.

    Raises:
        ConfigError: an option out of its range, or `tau` with `hard`, which has none.

    The second of four completions is good by one reward and bad by the other:

    >>> import torch
    >>> rewards = RewardMatrix.from_groups(torch.tensor([[[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]))
    >>> GD2PO(eps=0)(rewards).values_B
    tensor([ 1.1547,  0.0000, -0.5774, -0.5774])
    """

    min_group_size: ClassVar[int] = 2

    form: Form = "hard"
    tau: float | None = None
    share: bool = True
    eps: float = field(default=DEFAULT_EPS, validator=check_eps)
    ddof: int = field(default=1, validator=check_ddof)
    weighting: Weights = field(factory=ConstantWeighting, validator=check_weighting)

    def __attrs_post_init__(self) -> None:
        choice("form of gd2po", self.form, get_args(Form))
        flag("share of gd2po", self.share)
        if self.tau is not None:
            if number("tau of gd2po", self.tau, above=0) > 1:
                raise ConfigError(f"tau of gd2po is a share of sum |a|, at most 1; got {self.tau:g}")
            choice("form of gd2po with a tau", self.form, ("snr",))

    @in_order
    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        groups = Groups.of(rewards.group_ids_B)
        weights, largest_weight = unit_weights(weights_of(self.weighting, rewards))
        parts = group_deviations(rewards, groups, weights)
        std_PK = parts.std(self.ddof)
        terms_BK = parts.units_BK
        scores = groups.split(terms_BK).div_(groups.along(std_PK))
        error = scores.abs().mul_(1.5).add_(1.0).mul_(groups.along(parts.error_PK / std_PK))  # as in GDPO
        scores.mul_(groups.split(weights) if weights.ndim == 2 else weights)
        error_BK = error.view_as(terms_BK).mul_(weights.abs())
        bound_B = error_BK.sum(1)
        kept_B = parts.counts_B & ~self._in_conflict(terms_BK, error_BK)
        terms_BK = terms_BK.masked_fill(~kept_B[:, None], 0.0)
        totals_B = snapped(terms_BK.sum(1), bound_B)
        if self.share:
            share_B = groups.rows(groups.number(kept_B) / groups.number(parts.counts_B).clamp(min=1))
            totals_B, terms_BK = totals_B * share_B, terms_BK * share_B[:, None]
        batch = Groups.whole(totals_B)
        totals_B, terms_BK = centred(totals_B, terms_BK, batch, parts.valid_BK & kept_B[:, None], bound_B)
        over_1 = divisor(batch.std(totals_B, batch.number(kept_B), self.ddof), self.eps / largest_weight)
        dtype = rewards.values_BK.dtype
        return Advantages(finite(totals_B / over_1, dtype), finite(terms_BK / over_1, dtype))

    def _in_conflict(self, terms_BK: Tensor, error_BK: Tensor) -> Tensor:
        """Completions (B,) that are left out."""
        unsigned_BK = error_BK.clamp(min=_SIGN)
        mixed_B = (terms_BK > unsigned_BK).any(1) & (terms_BK < -unsigned_BK).any(1)
        if self.form == "hard":
            return mixed_B
        size_B = terms_BK.abs().sum(1)
        tau = 0.2 if self.tau is None else self.tau
        below_B: Tensor = terms_BK.sum(1).abs() + error_BK.sum(1) < (tau - _TIE) * size_B
        return mixed_B & below_B
