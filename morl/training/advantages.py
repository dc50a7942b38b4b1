"""What is asked of anybody's estimator, and which groups have signal."""

from __future__ import annotations

import torch
from torch import Tensor

from morl.advantage.conditioned import Conditioned
from morl.advantage.deviations import deviations, varies
from morl.advantage.groups import Groups
from morl.advantage.weighting import weights_of
from morl.copies import copied
from morl.errors import PluginError, asking
from morl.hookspecs import AdvantageEstimator
from morl.runtime.parts import weighting_of
from morl.types import Advantages, RewardMatrix

_ROUNDING = 1e-6
"""How far contributions may be from adding up, relative to the largest, in the worst of the usual dtypes: float32."""


def ask_estimator(estimator: AdvantageEstimator, rewards: RewardMatrix, label: str = "") -> Advantages:
    """The estimator's answer about a copy of the rewards, itself a copy: neither is the estimator's to change.

    Args:
        estimator: anybody's.
        rewards: of a whole batch.
        label: what errors call it.

    Raises:
        PluginError: an exception, no `Advantages`, another shape, numbers that are not finite, or contributions that do
            not add up to the advantages.
    """
    label = label or f"the advantage estimator {type(estimator).__name__}"
    with asking(label):
        answer: object = estimator(copied(rewards))
    if not isinstance(answer, Advantages):
        raise PluginError(
            f"{label} returned {type(answer).__name__}; expected morl.types.Advantages(values_B, contributions_BK)"
        )
    _check_numbers(answer, rewards, label)
    _check_sums(answer, rewards, label)
    return copied(answer)


def _check_numbers(answer: Advantages, rewards: RewardMatrix, label: str) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "values_B": tuple(rewards.values_BK.shape[:1]),
        "contributions_BK": tuple(rewards.values_BK.shape),
    }
    for name, expected in shapes.items():
        found = getattr(answer, name)
        if not isinstance(found, Tensor):
            raise PluginError(f"{label} returned {name} as {type(found).__name__}; expected a tensor {expected}")
        _check_dtype(found, name, label)
        if found.shape != expected or not torch.isfinite(found).all():
            raise PluginError(
                f"{label} returned {name} of shape {tuple(found.shape)} with"
                f" {int((~torch.isfinite(found)).sum())} values that are not finite; expected {expected} finite numbers"
                " (check it with morl.testing.check_advantage_estimator)"
            )
    if answer.values_BT is not None:
        sampled_BT, found = rewards.sampled_mask_BT, answer.values_BT
        expected = tuple(sampled_BT.shape)
        if not isinstance(found, Tensor):
            raise PluginError(f"{label} returned values_BT as {type(found).__name__}; expected a tensor {expected}")
        _check_dtype(found, "values_BT", label)
        if found.shape != expected or not (torch.isfinite(found) | ~sampled_BT).all():
            raise PluginError(
                f"{label} returned values_BT of shape {tuple(found.shape)}; expected {expected}, the shape of"
                " RewardMatrix.sampled_mask_BT, with finite numbers where it is True"
            )


def _check_dtype(found: Tensor, name: str, label: str) -> None:
    if not found.is_floating_point():
        raise PluginError(
            f"{label} returned {name} of type {found.dtype}; expected real numbers, such as torch.float64"
        )


def _check_sums(answer: Advantages, rewards: RewardMatrix, label: str) -> None:
    """Contributions add up, within the rounding of their dtype and within what is known of the rewards."""
    values_B, parts_BK = answer.values_B.double(), answer.contributions_BK.double()
    rounding = max(_ROUNDING, 4 * torch.finfo(answer.contributions_BK.dtype).eps)
    apart_B = (parts_BK.sum(1) - values_B).abs()
    allowed = rounding * torch.maximum(parts_BK.abs().sum(1), values_B.abs()).max()
    if (apart_B <= allowed).all():
        return
    # Of rewards that are large against their differences only so much is known: where the rest cancels, it may be 0.
    groups = Groups.of(rewards.group_ids_B)
    error_PK = deviations(rewards, groups, torch.ones_like(rewards.weights_K)).error_PK
    known_PK = error_PK * groups.max(parts_BK.abs()) * (3 * groups.sizes_P[:, None].double().sqrt() + 2)
    wrong_B = apart_B > allowed + groups.rows(known_PK.sum(1))
    if wrong_B.any():
        row = int(wrong_B.nonzero()[0])
        raise PluginError(
            f"{label} returned contributions that do not add up to its advantages: those of completion {row} are"
            f" {parts_BK[row].tolist()}, and its advantage is {float(values_B[row])} (check it with"
            " morl.testing.check_advantage_estimator)"
        )


def conditioned(estimator: AdvantageEstimator, rewards: RewardMatrix) -> RewardMatrix:
    """The rewards as the estimator inside `conditioned-<name>` sees them; those of another one as they are."""
    inner: object = estimator
    while isinstance(inner, Conditioned):
        rewards, inner = inner.transform(rewards), inner.inner
    return rewards


def counted(estimator: AdvantageEstimator, rewards: RewardMatrix) -> dict[str, Tensor]:
    """Where each conditioned reward counts, bool (B,), by name."""
    found: dict[str, Tensor] = {}
    inner: object = estimator
    while isinstance(inner, Conditioned):
        for name, counts_B in inner.counts(rewards).items():
            found[name] = found[name] & counts_B if name in found else counts_B
        rewards, inner = inner.transform(rewards), inner.inner
    return found


def weights_used(estimator: AdvantageEstimator, rewards: RewardMatrix) -> Tensor:
    """The weights that the estimator gives these rewards, (K,) or, where they tell completions apart, (B, K)."""
    weighting = weighting_of(estimator)
    return rewards.weights_K if weighting is None else weights_of(weighting, conditioned(estimator, rewards))


def with_signal(estimator: AdvantageEstimator, rewards: RewardMatrix) -> Tensor:
    """Whether some weighted, valid reward varies within each group, as the estimator sees the rewards; bool (P,).

    Groups are in the order of their ids.  Asked of the rewards, for what comes after may be 0 for other reasons: where
    rewards cancel exactly, whether anything is left depends on the weights and on the rest of the batch.
    """
    weights = weights_used(estimator, rewards)
    rewards = conditioned(estimator, rewards)
    groups = Groups.of(rewards.group_ids_B)
    values_BK = rewards.values_BK.double()
    high_PK = groups.max(values_BK.masked_fill(~rewards.valid_BK, -torch.inf))
    low_PK = groups.min(values_BK.masked_fill(~rewards.valid_BK, torch.inf))
    weighted_PK = groups.max((weights != 0).expand_as(values_BK).double()) > 0
    return (varies(low_PK, high_PK, rewards.bounds_K2) & weighted_PK).any(1)
