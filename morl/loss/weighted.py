"""Losses that weigh the log-probability by a function of the ratio: every token keeps a gradient."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from attrs import field, frozen
from torch import Tensor

from morl.errors import ConfigError
from morl.loss.options import aggregations, not_negative, positive
from morl.loss.surrogate import Metrics, SurrogateLoss, spread, sums
from morl.types import Aggregation, TokenBatch


@frozen
class CISPOLoss(SurrogateLoss):
    """Policy gradient with a bounded importance weight (CISPO, MiniMax-M1, arXiv 2506.13585, eq. 4 and 5).

        ratio = exp(policy_logprob - old_logprob)
        loss  = -stop_gradient(clip(ratio, min_ratio, max_ratio)) * A * policy_logprob

    A ratio out of bounds weighs a token less and does not silence it, as clipping does.  Bounds are of the ratio
    itself, not of its distance from 1.

    Args:
        max_ratio: largest weight; 5 is TRL's advice, after ScaleRL (arXiv 2510.13786).
        min_ratio: smallest weight; MiniMax-M1 sets none.

    Raises:
        ConfigError: an option outside its range, or one that has no effect.
    """

    max_ratio: float = field(default=5.0, validator=positive)
    min_ratio: float = field(default=0.0, validator=not_negative)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not self.min_ratio < 1 < self.max_ratio:
            raise ConfigError(
                f"min_ratio must be below 1 and max_ratio above 1, the ratio on policy; got {self.min_ratio} and"
                f" {self.max_ratio}"
            )

    def surrogate(self, batch: TokenBatch) -> tuple[Tensor, Metrics]:
        """See the class; metrics `clip_fraction`, tokens whose weight was bounded, and `ratio`."""
        ratio = (batch.policy_logprobs_T.detach() - batch.old_logprobs_T).exp()
        weight = ratio.clamp(self.min_ratio, self.max_ratio)
        losses = -weight * batch.advantages_T * batch.policy_logprobs_T
        return losses, {"clip_fraction": (weight != ratio).float(), "ratio": ratio}


@frozen
class SAPOLoss(SurrogateLoss):
    """A smooth gate in place of the clip (SAPO, arXiv 2511.20347).

        ratio = exp(policy_logprob - old_logprob)
        loss  = -4 / tau * sigmoid(tau * (ratio - 1)) * A

    The gradient is that of the policy gradient where the ratio is 1, and fades away on both sides of it, the faster the
    greater tau.

    Args:
        temperature_positive: tau of tokens whose advantage is positive.
        temperature_negative: tau of all others; larger, for what they push up are all other tokens.

    Raises:
        ConfigError: an option outside its range, or one that has no effect.
    """

    aggregation: Aggregation = field(default="sequence-mean", validator=aggregations, kw_only=True)
    temperature_positive: float = field(default=1.0, validator=positive)
    temperature_negative: float = field(default=1.05, validator=positive)

    def surrogate(self, batch: TokenBatch) -> tuple[Tensor, Metrics]:
        """See the class; metrics `ratio` and `gate`, the factor that is left of the gradient of the ratio."""
        ratio = (batch.policy_logprobs_T - batch.old_logprobs_T).exp()
        tau = torch.where(batch.advantages_T > 0, self.temperature_positive, self.temperature_negative)
        passed = torch.sigmoid(tau * (ratio - 1))
        gate = 4 * passed * (1 - passed)
        return -4 / tau * passed * batch.advantages_T, {"ratio": ratio.detach(), "gate": gate.detach()}


@frozen
class VESPOLoss(SurrogateLoss):
    """Policy gradient with a soft weight of the whole completion (VESPO, arXiv 2602.10693).

        w    = exp(sum over the completion of (policy_logprob - rollout_logprob))
        loss = -stop_gradient(w^k * exp(lambda * (1 - w))) * A * policy_logprob

    The weight is 1 where w is, and falls to both sides of the peak at k / lambda.  It stands for importance weights
    too, so that `importance` is not applied to this loss.

    Args:
        k_positive: k of tokens whose advantage is not negative.
        lambda_positive: lambda of the same.
        k_negative: k of tokens of negative advantage.
        lambda_negative: lambda of the same.

    Raises:
        ConfigError: an option outside its range, or one that has no effect.
    """

    corrects_importance: ClassVar[bool] = True

    k_positive: float = field(default=2.0, validator=not_negative)
    lambda_positive: float = field(default=3.0, validator=positive)
    k_negative: float = field(default=3.0, validator=not_negative)
    lambda_negative: float = field(default=2.0, validator=positive)

    def surrogate(self, batch: TokenBatch) -> tuple[Tensor, Metrics]:
        """See the class; metrics `ratio`, of the tokens, and `weight`."""
        log_ratio = batch.policy_logprobs_T.detach() - batch.rollout_logprobs_T
        # Beyond these bounds, which are those of the authors' code, the weight is 0 for all that matters.
        log_w = spread(batch, sums(batch, log_ratio.clamp(-20.0, 20.0)).clamp(math.log(1e-8), 20.0))
        positive_T = batch.advantages_T >= 0
        k = torch.where(positive_T, self.k_positive, self.k_negative)
        lam = torch.where(positive_T, self.lambda_positive, self.lambda_negative)
        weight = (lam + k * log_w - lam * log_w.exp()).exp()
        losses = -weight * batch.advantages_T * batch.policy_logprobs_T
        return losses, {"ratio": (batch.policy_logprobs_T.detach() - batch.old_logprobs_T).exp(), "weight": weight}
