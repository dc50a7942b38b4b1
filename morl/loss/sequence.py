"""Losses whose ratio is that of a whole completion: the geometric mean of the ratios of its tokens."""

from __future__ import annotations

from attrs import field, frozen
from torch import Tensor

from morl.errors import ConfigError
from morl.loss.clipped import Clipped
from morl.loss.options import aggregations, not_negative
from morl.loss.surrogate import Metrics, means, spread
from morl.types import Aggregation, TokenBatch


@frozen
class GSPOLoss(Clipped):
    """Clipped loss of whole completions (GSPO, arXiv 2507.18071, eq. 5 to 7).

        s    = exp(mean over the completion of (policy_logprob - old_logprob))
        loss = -min(s * A, clip(s, 1 - clip_low, 1 + clip_high) * A)         at each of its tokens

    The mean varies much less than a token's ratio, so that its bounds are far narrower; the defaults are the paper's.

    Args:
        clip_high: how far the ratio may rise above 1 before a positive advantage stops pushing; null takes `clip_low`.
    """

    aggregation: Aggregation = field(default="sequence-mean", validator=aggregations, kw_only=True)
    clip_low: float = field(default=3e-4, validator=not_negative)
    clip_high: float | None = field(default=4e-4, validator=not_negative)

    def surrogate(self, batch: TokenBatch) -> tuple[Tensor, Metrics]:
        """See the class."""
        ratio = spread(batch, means(batch, batch.policy_logprobs_T - batch.old_logprobs_T)).exp()
        return self.clipped(ratio, batch.advantages_T)


@frozen
class GSPOTokenLoss(GSPOLoss):
    """GSPO whose gradient goes through each token alone (GSPO-token, arXiv 2507.18071, eq. 13 and 14).

        s_t = stop_gradient(s) * policy / stop_gradient(policy),       s as in `gspo`

    The same as `gspo` where all tokens of a completion have one advantage; with advantages of turns or tokens, each
    of these moves its own tokens only.
    """

    def surrogate(self, batch: TokenBatch) -> tuple[Tensor, Metrics]:
        """See the class."""
        now = batch.policy_logprobs_T
        ratio = spread(batch, means(batch, now.detach() - batch.old_logprobs_T)).exp()
        return self.clipped(ratio * (now - now.detach()).exp(), batch.advantages_T)


@frozen
class LUSPOLoss(GSPOLoss):
    """GSPO in which a completion counts with its length (LUSPO, arXiv 2602.05261).

    That is `gspo` with the aggregation `sequence-sum`: in GSPO, whose loss of a completion is one number whatever its
    length, each token of a long completion pushes less.

    Raises:
        ConfigError: another aggregation, with which it would be `gspo`.
    """

    aggregation: Aggregation = field(default="sequence-sum", validator=aggregations, kw_only=True)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.aggregation != "sequence-sum":
            raise ConfigError(
                f"luspo is gspo with the aggregation sequence-sum (arXiv 2602.05261), and with {self.aggregation} it"
                " would be gspo itself; leave aggregation out, or take the loss gspo"
            )
