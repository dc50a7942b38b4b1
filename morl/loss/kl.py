"""Per-token estimates of the KL divergence of the policy from another, from samples of the policy.

Schulman, "Approximating KL divergence" (2020), http://joschu.net/blog/kl-approx.html.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor

KLEstimator: TypeAlias = Literal["k1", "k2", "k3"]
"""Which estimate of the KL divergence is taken from a sampled token; see `kl_divergence`."""


def kl_divergence(policy_logprobs_T: Tensor, other_logprobs_T: Tensor, estimator: KLEstimator) -> Tensor:
    """Estimate of KL(policy || other) at each sampled token, from d = log policy - log other.

    Args:
        policy_logprobs_T: log-probabilities of tokens that were sampled from the policy.
        other_logprobs_T: of the same tokens under the other policy.
        estimator: `k1` = d (unbiased, may be negative; as a loss its gradient is 0 on average), `k2` = d^2 / 2 (squared
            difference; its gradient is that of the true KL), `k3` = exp(-d) - 1 + d (unbiased, never negative; GRPO,
            arXiv 2402.03300, eq. 4).
    """
    difference = policy_logprobs_T - other_logprobs_T
    match estimator:
        case "k1":
            return difference
        case "k2":
            return difference.square() / 2
        case "k3":
            return (-difference).expm1() + difference


def kl_penalty(policy_logprobs_T: Tensor, other_logprobs_T: Tensor, estimator: KLEstimator) -> Tensor:
    """`kl_divergence` as a term of a loss: `k1` has its own value with the gradient of `k2`.

    The gradient of k1 is that of the log-probability, which is 0 on average; that of k2 is the KL's own, on average,
    while the policy is the one that sampled.
    """
    value = kl_divergence(policy_logprobs_T, other_logprobs_T, estimator)
    if estimator != "k1":
        return value
    pull = kl_divergence(policy_logprobs_T, other_logprobs_T, "k2")
    return pull + (value - pull).detach()
