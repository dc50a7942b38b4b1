"""What is asked of anybody's policy loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from morl.copies import copied
from morl.errors import MorlError, PluginError
from morl.hookspecs import PolicyLoss
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
        PluginError: an exception, no `TokenLosses`, or losses or metrics that are not one number per token.
    """
    label = label or f"the policy loss {type(loss).__name__}"
    try:
        answer = loss(copied(batch))
    except torch.OutOfMemoryError:  # says by itself what is wrong
        raise
    except MorlError as error:
        raise type(error)(f"{label}: {error}") from error
    except Exception as error:
        raise PluginError(f"{label} failed: {type(error).__name__}: {error}") from error
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
    return answer
