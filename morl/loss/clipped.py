"""The clipped surrogate objective, with separate bounds and a third against large ratios."""

from __future__ import annotations

import torch
from attrs import field, frozen
from torch import Tensor

from morl.errors import ConfigError
from morl.loss.options import not_negative
from morl.loss.surrogate import Metrics, SurrogateLoss
from morl.types import TokenBatch


@frozen
class Clipped(SurrogateLoss):
    """The bounds of a ratio, for losses that clip it.

    Args:
        clip_low: how far the ratio may fall below 1 before a negative advantage stops pushing; in [0, 1].
        clip_high: how far it may rise above 1 before a positive advantage stops pushing; null takes `clip_low`.
        delta: largest ratio that a negative advantage pushes with, above 1 + `clip_high` (two-sided clipping,
            INTELLECT-2, arXiv 2505.07291); null sets none.
    """

    clip_low: float = field(default=0.2, validator=not_negative)
    clip_high: float | None = field(default=None, validator=not_negative)
    delta: float | None = field(default=None, validator=not_negative, kw_only=True)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.clip_low > 1:
            raise ConfigError(f"clip_low must be at most 1, for a ratio is never negative; got {self.clip_low}")
        if self.delta is not None and self.delta <= 1 + self.upper:
            raise ConfigError(
                f"delta bounds ratios beyond the clip, so it must be above 1 + clip_high = {1 + self.upper}; got"
                f" {self.delta}"
            )

    @property
    def upper(self) -> float:
        """`clip_high`, or what stands for it."""
        return self.clip_low if self.clip_high is None else self.clip_high

    def clipped(self, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Metrics]:
        """-min(min(ratio, delta) * A, clip(ratio) * A), with the metrics `clip_fraction` and `ratio`."""
        bounded = ratio.clamp(1 - self.clip_low, 1 + self.upper)
        free = ratio if self.delta is None else ratio.clamp(max=self.delta)
        # Tokens whose gradient the clip took away, not all whose ratio left the range.
        stopped = bounded * advantages < free * advantages
        if self.delta is not None:
            stopped |= (ratio > self.delta) & (advantages < 0)
        losses = -torch.minimum(free * advantages, bounded * advantages)
        return losses, {"clip_fraction": stopped.float(), "ratio": ratio.detach()}


@frozen
class ClippedLoss(Clipped):
    """Clipped policy loss of each token (PPO, arXiv 1707.06347, eq. 7; separate bounds: DAPO, arXiv 2503.14476).

        ratio = exp(policy_logprob - old_logprob)
        loss  = -min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A)

    with the options of all losses (`SurrogateLoss`), such as `kl_coef`.

    Raises:
        ConfigError: an option outside its range, or one that has no effect.
    """

    def surrogate(self, batch: TokenBatch) -> tuple[Tensor, Metrics]:
        """See the class."""
        ratio = (batch.policy_logprobs_T - batch.old_logprobs_T).exp()
        return self.clipped(ratio, batch.advantages_T)
