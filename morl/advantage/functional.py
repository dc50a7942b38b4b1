"""The estimators as plain functions of a reward tensor, for notebooks and for other training loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from morl.advantage.gdpo import GDPO
from morl.advantage.grpo import GRPO, GRPONoStd
from morl.advantage.options import DEFAULT_EPS
from morl.types import RewardMatrix


def grpo(
    rewards: Tensor,
    weights: Mapping[str, float] | None = None,
    *,
    names: Sequence[str] | None = None,
    valid: Tensor | None = None,
    eps: float = DEFAULT_EPS,
    ddof: int = 1,
) -> Tensor:
    """Advantages (P, G) of `morl.advantage.GRPO`.

    Args:
        rewards: (P, G, K), any floating dtype; NaN = missing.
        weights: weight by reward name; 1 where a name is absent.
        names: K reward names; default r0, r1, ..
        valid: (P, G, K) bool; False = missing, whatever stands in `rewards`.
        eps: see `morl.advantage.GRPO`.
        ddof: see `morl.advantage.GRPO`.

    Raises:
        ValueError: `rewards` or `valid` of another shape or kind.
        ConfigError: a weight for an unknown name, an option out of its range.

    >>> grpo(torch.tensor([[[0.0, 0.0], [3.0, 1.0]]]), weights={"r1": 0.5}, eps=0)
    tensor([[-0.7071,  0.7071]])
    """
    return _by_group(GRPO(eps=eps, ddof=ddof)(_matrix(rewards, weights, names, valid)).values_B, rewards)


def grpo_no_std(
    rewards: Tensor,
    weights: Mapping[str, float] | None = None,
    *,
    names: Sequence[str] | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Advantages (P, G) of `morl.advantage.GRPONoStd`; arguments as for `grpo`.

    >>> grpo_no_std(torch.tensor([[[0.0, 0.0], [3.0, 1.0]]]), weights={"r1": 0.5})
    tensor([[-1.7500,  1.7500]])
    """
    return _by_group(GRPONoStd()(_matrix(rewards, weights, names, valid)).values_B, rewards)


def gdpo(
    rewards: Tensor,
    weights: Mapping[str, float] | None = None,
    *,
    names: Sequence[str] | None = None,
    valid: Tensor | None = None,
    eps: float = DEFAULT_EPS,
    ddof: int = 1,
    batch_norm: bool = True,
) -> Tensor:
    """Advantages (P, G) of `morl.advantage.GDPO`; arguments as for `grpo`, `batch_norm` as for the class.

    >>> gdpo(torch.tensor([[[0.0, 0.0], [3.0, 1.0]]]), weights={"r1": 0.5}, batch_norm=False)
    tensor([[-1.0607,  1.0607]])
    """
    estimator = GDPO(eps=eps, ddof=ddof, batch_norm=batch_norm)
    return _by_group(estimator(_matrix(rewards, weights, names, valid)).values_B, rewards)


def _matrix(rewards: object, weights: object, names: Sequence[str] | None, valid: Tensor | None) -> RewardMatrix:
    if not isinstance(rewards, Tensor):
        raise ValueError(f"rewards must be a float tensor (P, G, K); got {type(rewards).__name__}")
    if valid is not None and (valid.shape != rewards.shape or valid.dtype != torch.bool):
        raise ValueError(
            f"valid must be a bool tensor {tuple(rewards.shape)}, like rewards; got {tuple(valid.shape)} {valid.dtype}"
        )
    if weights is not None and not isinstance(weights, Mapping):
        raise ValueError(f"weights must map reward names to numbers; got {type(weights).__name__}")
    return RewardMatrix.from_groups(rewards, names, weights, valid)


def _by_group(values_B: Tensor, rewards: Tensor) -> Tensor:
    return values_B.view(rewards.shape[:2])
