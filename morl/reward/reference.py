"""The divergence from the reference policy as a reward: KL in the reward rather than in the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from attrs import field, frozen, validators

from morl.types import Completion


@frozen(eq=False)
class ReferenceKLReward:
    """Minus the KL divergence of the policy from the reference, estimated on each completion.

        score = -sum over sampled tokens of k,        d = log policy - log reference
        k1 = d,  k3 = exp(-d) - 1 + d        (http://joschu.net/blog/kl-approx.html)

    With an estimator that adds rewards before it normalises (`grpo`), a weight of beta subtracts beta times the KL from
    the sum of the others, as verl does where the KL is in the reward; one that normalises each reward (`gdpo`) gives it
    its weight's share, however small the divergence is.  Both log-probabilities come from one code, so that it is
    exactly 0 while the policy is the reference; two forward passes per step are its price.  On held-out prompts the
    reward is missing, for the reference is not asked about them.

    Args:
        estimator: `k1`, unbiased, or `k3`, never negative.
        per: `completion` sums over its tokens, `token` takes their mean.
    """

    needs_reference: ClassVar[bool] = True

    estimator: Literal["k1", "k3"] = field(default="k1", validator=validators.in_(("k1", "k3")))
    per: Literal["completion", "token"] = field(default="completion", validator=validators.in_(("completion", "token")))

    def score(self, completions: Sequence[Completion]) -> list[float | Exception | None]:
        """One score each; None where there is no reference, or no token."""
        return [self._score(completion) for completion in completions]

    def _score(self, completion: Completion) -> float | None:
        if completion.logprobs is None or completion.reference_logprobs is None or not completion.logprobs:
            return None
        apart = [now - far for now, far in zip(completion.logprobs, completion.reference_logprobs, strict=True)]
        total = math.fsum(apart if self.estimator == "k1" else [math.expm1(-d) + d for d in apart])
        return -total / (len(apart) if self.per == "token" else 1)
