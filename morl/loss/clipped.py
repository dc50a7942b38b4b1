"""The clipped surrogate objective, with separate bounds and an optional pull to a reference policy."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from attrs import Attribute, field, frozen

from morl.errors import ConfigError
from morl.loss.kl import kl_divergence
from morl.types import Aggregation, TokenBatch, TokenLosses


def _one_of(*choices: str) -> Any:
    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if value not in choices:
            raise ConfigError(f"{attribute.name} must be one of {', '.join(choices)}; got {value!r}")

    return check


def _not_negative(_: object, attribute: Attribute[Any], value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{attribute.name} must be a finite number >= 0; got {value}")


@frozen
class ClippedLoss:
    """Clipped policy loss of each token (PPO, arXiv 1707.06347, eq. 7; separate bounds: DAPO, arXiv 2503.14476).

        ratio = exp(policy_logprob - old_logprob)
        loss  = -min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A) + kl_coef * KL(policy || reference)

    Args:
        clip_low: how far the ratio may fall below 1 before a negative advantage stops pushing; in [0, 1].
        clip_high: how far it may rise above 1 before a positive advantage stops pushing.
        aggregation: `token-mean`, `sequence-mean` or `dr-grpo`; see `morl.loss.aggregation`.
        kl_coef: strength of the pull to the initial policy; 0 loads no reference model.
        kl_estimator: `k2` (squared difference) or `k3`; see `morl.loss.kl`.  Not `k1`, whose gradient is 0 on average.

    Raises:
        ConfigError: an option outside its range, or a `kl_estimator` chosen while `kl_coef` is 0.
    """

    clip_low: float = field(default=0.2, validator=_not_negative)
    clip_high: float = field(default=0.2, validator=_not_negative)
    aggregation: Aggregation = field(default="token-mean", validator=_one_of(*get_args(Aggregation)))
    kl_coef: float = field(default=0.0, validator=_not_negative)
    kl_estimator: Literal["k2", "k3"] = field(default="k3", validator=_one_of("k2", "k3"))

    def __attrs_post_init__(self) -> None:
        if self.clip_low > 1:
            raise ConfigError(f"clip_low must be at most 1, for a ratio is never negative; got {self.clip_low}")
        if self.kl_coef == 0 and self.kl_estimator != "k3":
            raise ConfigError(
                f"kl_estimator={self.kl_estimator} has no effect while kl_coef is 0; set kl_coef, or drop it"
            )

    @property
    def needs_reference(self) -> bool:
        """Whether `TokenBatch.ref_logprobs_T` is used."""
        return self.kl_coef > 0

    def __call__(self, batch: TokenBatch) -> TokenLosses:
        """Losses (T,) with the metrics `clip_fraction`, `ratio`, `kl_old` and, with a reference, `kl_reference`."""
        advantages = batch.advantages_T
        ratio = (batch.policy_logprobs_T - batch.old_logprobs_T).exp()
        clipped = ratio.clamp(1 - self.clip_low, 1 + self.clip_high)
        losses = -torch.minimum(ratio * advantages, clipped * advantages)
        metrics = {
            # Tokens whose gradient the clip took away, not all whose ratio left the range.
            "clip_fraction": (clipped * advantages < ratio * advantages).float(),
            "ratio": ratio.detach(),
            # k3 from the old policy's side, whose samples these are: how far the update has moved the policy.
            "kl_old": kl_divergence(batch.old_logprobs_T, batch.policy_logprobs_T.detach(), "k3"),
        }
        if self.needs_reference:
            assert batch.ref_logprobs_T is not None
            kl = kl_divergence(batch.policy_logprobs_T, batch.ref_logprobs_T, self.kl_estimator)
            losses = losses + self.kl_coef * kl
            metrics["kl_reference"] = kl.detach()
        return TokenLosses(losses, metrics)
