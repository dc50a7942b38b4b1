"""What all losses around an importance ratio have in common: KL to the reference, masks of tokens, aggregation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from attrs import field, frozen
from torch import Tensor

from morl.errors import ConfigError
from morl.loss.kl import kl_divergence, kl_penalty
from morl.loss.options import aggregations, not_negative, one_of, positive
from morl.types import Aggregation, TokenBatch, TokenLosses

Metrics = dict[str, Tensor]


@frozen(kw_only=True)
class SurrogateLoss(ABC):
    """A loss around the ratio of the policy to the policy at the start of the update; subclasses say which.

        loss of a token = surrogate * mask + kl_coef * KL(policy || reference)

    Args:
        aggregation: how tokens become one number, `token-mean`, `sequence-mean`, `sequence-sum` or `dr-grpo`; also by
            TRL's names, `dapo` and `bnpo`, `grpo`, and `dr_grpo`.  See `morl.loss.aggregation`.
        kl_coef: strength of the pull to the reference policy; 0 loads no reference model.
        kl_estimator: `k1` (difference), `k2` (squared difference) or `k3`; see `morl.loss.kl`.  `k1` has the gradient
            of `k2`, for its own is 0 on average.
        kl_unbiased: multiply `k1` or `k3` by the token's ratio, through which gradients flow, so that value and
            gradient are those of the KL of the policy being updated (DeepSeek-V3.2, arXiv 2512.02556).
        off_policy_threshold: tokens of negative advantage leave the surrogate where the mean of log(rollout policy /
            policy) over their completion is above this (DeepSeek-V3.2, eq. 9); null keeps them.
        top_entropy: share of the tokens, those of the highest entropy, that stay in the surrogate (arXiv 2506.01939:
            0.2); 1 keeps all, below costs a forward pass.
    """

    aggregation: Aggregation = field(default="token-mean", validator=aggregations)
    kl_coef: float = field(default=0.0, validator=not_negative)
    kl_estimator: Literal["k1", "k2", "k3"] = field(default="k3", validator=one_of("k1", "k2", "k3"))
    kl_unbiased: bool = False
    off_policy_threshold: float | None = field(default=None, validator=positive)
    top_entropy: float = 1.0

    def __attrs_post_init__(self) -> None:
        if self.kl_coef == 0 and self.kl_estimator != "k3":
            raise ConfigError(
                f"kl_estimator={self.kl_estimator} has no effect while kl_coef is 0; set kl_coef, or drop it"
            )
        if self.kl_unbiased and self.kl_coef == 0:
            raise ConfigError("kl_unbiased has no effect while kl_coef is 0; set kl_coef, or drop it")
        if self.kl_unbiased and self.kl_estimator == "k2":
            raise ConfigError("kl_unbiased is for k1 and k3, whose value is unbiased; k2 is not, with any weight")
        if not 0 < self.top_entropy <= 1:
            raise ConfigError(f"top_entropy must be a share above 0 and at most 1; got {self.top_entropy}")

    @property
    def needs_reference(self) -> bool:
        """Whether `TokenBatch.ref_logprobs_T` is used."""
        return self.kl_coef > 0

    @abstractmethod
    def surrogate(self, batch: TokenBatch) -> tuple[Tensor, Metrics]:
        """The policy's part of the loss, (T,), and figures to log."""

    def __call__(self, batch: TokenBatch) -> TokenLosses:
        """Losses (T,) and metrics.

        Metrics are those of the surrogate, `kl_old`, with a reference `kl_reference`, and with a threshold
        `off_policy`.
        """
        losses, metrics = self.surrogate(batch)
        # k3 from the old policy's side, whose samples these are: how far the update has moved the policy.
        metrics["kl_old"] = kl_divergence(batch.old_logprobs_T, batch.policy_logprobs_T.detach(), "k3")
        if self.off_policy_threshold is not None:
            apart_T = spread(batch, means(batch, batch.rollout_logprobs_T - batch.policy_logprobs_T.detach()))
            left_T = (apart_T > self.off_policy_threshold) & (batch.advantages_T < 0)
            losses = losses.masked_fill(left_T, 0.0)
            metrics["off_policy"] = left_T.float()
        if batch.top_entropy_T is not None:
            losses = losses.masked_fill(~batch.top_entropy_T, 0.0)
        if self.needs_reference:
            kl = self._kl(batch)
            losses = losses + self.kl_coef * kl
            metrics["kl_reference"] = kl.detach()
        return TokenLosses(losses, metrics)

    def _kl(self, batch: TokenBatch) -> Tensor:
        assert batch.ref_logprobs_T is not None
        if not self.kl_unbiased:
            return kl_penalty(batch.policy_logprobs_T, batch.ref_logprobs_T, self.kl_estimator)
        kl = kl_divergence(batch.policy_logprobs_T, batch.ref_logprobs_T, self.kl_estimator)
        return kl * (batch.policy_logprobs_T - batch.old_logprobs_T).exp()


def sums(batch: TokenBatch, values_T: Tensor) -> Tensor:
    """Of each completion the sum over its tokens, (B,)."""
    count = len(_lengths(batch))
    return torch.zeros(count, dtype=values_T.dtype, device=values_T.device).index_add(0, batch.rows_T, values_T)


def means(batch: TokenBatch, values_T: Tensor) -> Tensor:
    """Of each completion the mean over its tokens, (B,)."""
    return sums(batch, values_T) / _lengths(batch).clamp(min=1)


def spread(batch: TokenBatch, values_B: Tensor) -> Tensor:
    """What belongs to completions, at each of their tokens (T,)."""
    return values_B[batch.rows_T]


def _lengths(batch: TokenBatch) -> Tensor:
    return torch.bincount(batch.rows_T) if batch.lengths_B is None else batch.lengths_B
