"""What is asked of anybody's policy loss."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from morl.copies import copied
from morl.errors import PluginError, asking
from morl.hookspecs import PolicyLoss
from morl.loss import token_weights
from morl.runtime.exchange import Exchange
from morl.types import TokenBatch, TokenLosses


def ask_loss(loss: PolicyLoss, batch: TokenBatch, label: str = "") -> TokenLosses:
    """The loss's answer about a copy of the batch, through which gradients flow as through the batch itself.

    What a loss writes to its tensors thus changes its own answer, and neither what is logged nor what the next
    mini-batch learns from.

    Args:
        loss: anybody's.
        batch: of whole completions.
        label: what errors call it.

    Raises:
        PluginError: an exception, no `TokenLosses`, losses or metrics that are not one number per token, or losses
            without a gradient.
    """
    label = label or f"the policy loss {type(loss).__name__}"
    with asking(label, leave=(torch.OutOfMemoryError,)):  # which says by itself what is wrong
        answer: object = loss(copied(batch))
    if not isinstance(answer, TokenLosses) or not isinstance(answer.metrics, Mapping):
        raise PluginError(
            f"{label} returned {type(answer).__name__}; expected morl.types.TokenLosses(values_T, metrics)"
        )
    expected = tuple(batch.advantages_T.shape)
    for name, found in {"values_T": answer.values_T, **answer.metrics}.items():
        if not isinstance(found, Tensor) or found.shape != expected:
            kind = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise PluginError(
                f"{label} returned {name} of {kind}; expected a tensor {expected}, one number for each sampled token"
                " (check it with morl.testing.check_policy_loss)"
            )
    if not answer.values_T.is_floating_point():
        raise PluginError(f"{label} returned values_T of type {answer.values_T.dtype}; expected real numbers")
    if batch.policy_logprobs_T.requires_grad and torch.is_grad_enabled() and not answer.values_T.requires_grad:
        raise PluginError(
            f"{label} returned values_T without a gradient; they must be computed from TokenBatch.policy_logprobs_T,"
            " without detach(), item() or numpy()"
        )
    return answer


def ask_weights(loss: PolicyLoss, lengths_B: Tensor, max_tokens: int, label: str = "") -> Tensor:
    """The weight of each token of these completions, as the loss's `aggregation` says.

    Raises:
        PluginError: an aggregation that the loss brings along fails, or gives no numbers.
    """
    with asking(f"{label or f'the policy loss {type(loss).__name__}'}: its aggregation"):
        return token_weights(lengths_B, loss.aggregation, max_tokens)


def share_of(loss: PolicyLoss) -> float:
    """The share of the tokens, those of the highest entropy, that a loss asks for; 1 = all."""
    return float(getattr(loss, "top_entropy", 1.0))


def top_entropy(entropy_BT: Tensor, mask_BT: Tensor, share: float, exchange: Exchange) -> tuple[Tensor, int]:
    """Which of this rank's tokens are among those of highest entropy over all ranks, and how many these are.

    Of n tokens, floor(share * (n - 1)) + 1 are kept, and all that equal the last of them: those that are not below the
    quantile 1 - share (arXiv 2506.01939, eq. 5; the count is that of torch.quantile).  Every rank must call.

    Args:
        entropy_BT: of this rank's tokens.
        mask_BT: True at those that take part.
        share: in (0, 1].
        exchange: the ranks.
    """
    entropies = torch.cat(exchange.gather(entropy_BT[mask_BT]))
    if not len(entropies):
        return mask_BT, 0
    # 1e-9: a product that is whole but for rounding is whole.
    kept = math.floor(share * (len(entropies) - 1) + 1e-9) + 1
    lowest = entropies.kthvalue(len(entropies) - kept + 1).values
    return mask_BT & (entropy_BT >= lowest), int((entropies >= lowest).sum())
