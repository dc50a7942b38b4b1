"""Importance weights for completions that another policy has sampled than the one that the update starts from."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import frozen
from torch import Tensor

Correction: TypeAlias = Literal["truncated", "masked"]
Level: TypeAlias = Literal["token", "sequence"]


@frozen(eq=False)
class ImportanceWeights:
    """Factors on the losses of completion tokens.

    Attributes:
        values_BT: the factors, float32, 0 at padding.
        bounded_BT: True where a ratio was out of bounds.
    """

    values_BT: Tensor
    bounded_BT: Tensor


def importance_weights(
    old_logprobs_BT: Tensor,
    rollout_logprobs_BT: Tensor,
    mask_BT: Tensor,
    *,
    correction: Correction,
    level: Level,
    low: float,
    high: float,
) -> ImportanceWeights:
    """Factor on the loss of each completion token.

    The samples follow the rollout policy, the surrogate is written around the policy at the start of the update; so
    each token's loss is weighted by

        rho = old policy / rollout policy

    of the token itself (`token`, biased and of low variance) or of its whole completion (`sequence`, the product over
    its tokens, unbiased before it is bounded).  `truncated` replaces rho by min(rho, high) (truncated importance
    sampling: IMPALA, arXiv 1802.01561; for language models Yao et al., "Your efficient RL framework secretly brings
    you off-policy RL training", 2025), `masked` by rho where low <= rho <= high and by 0 elsewhere (IcePop, 2025).

    Args:
        old_logprobs_BT: under the policy at the start of the update.
        rollout_logprobs_BT: as captured while sampling.
        mask_BT: True at completion tokens.
        correction: what happens to ratios out of bounds.
        level: of what the ratio is taken.
        low: lower bound of `masked`; `truncated` does not use it.
        high: upper bound of both.

    Raises:
        ValueError: tensors of different shapes.

    >>> import torch
    >>> old, rollout = torch.log(torch.tensor([[0.5, 0.2]])), torch.log(torch.tensor([[0.1, 0.2]]))
    >>> both = torch.ones(1, 2, dtype=torch.bool)
    >>> importance_weights(old, rollout, both, correction="truncated", level="token", low=0.0, high=2.0).values_BT
    tensor([[2., 1.]])
    >>> importance_weights(old, rollout, both, correction="masked", level="token", low=0.5, high=2.0).values_BT
    tensor([[0., 1.]])
    >>> importance_weights(old, rollout, both, correction="masked", level="sequence", low=0.0, high=9.0).values_BT
    tensor([[5., 5.]])
    """
    if not old_logprobs_BT.shape == rollout_logprobs_BT.shape == mask_BT.shape:
        raise ValueError(
            f"expected three tensors (B, T); got {tuple(old_logprobs_BT.shape)},"
            f" {tuple(rollout_logprobs_BT.shape)} and {tuple(mask_BT.shape)}"
        )
    difference = (old_logprobs_BT.double() - rollout_logprobs_BT.double()).masked_fill(~mask_BT, 0.0)
    if level == "sequence":
        difference = difference.sum(1, keepdim=True).expand_as(difference)
    ratio = difference.exp()
    if correction == "truncated":
        bounded, weights = ratio > high, ratio.clamp(max=high)
    else:
        bounded = (ratio < low) | (ratio > high)
        weights = ratio.masked_fill(bounded, 0.0)
    return ImportanceWeights(weights.masked_fill(~mask_BT, 0.0).float(), bounded & mask_BT)
