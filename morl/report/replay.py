"""`morl replay`: the rewards of a logged step under another estimator; no model is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from attrs import evolve, frozen
from torch import Tensor

from morl.errors import ConfigError, DataError, suggest
from morl.integrations import estimator, matrix
from morl.integrations.matrix import asked
from morl.report.samples import StepSamples
from morl.report.view import View
from morl.types import Advantages, RewardMatrix

DECIMALS = 9
"""As `advantage/distinct` counts."""


@frozen(eq=False)
class Replayed:
    """Advantages of one step, and what a batch of them is like.

    Attributes:
        name: of the estimator; `logged` for the run's own.
        values_B: advantages.
        distinct: number of different ones.
        dead_groups: share of groups whose advantages are all 0.
        shares: share of each reward in the advantage, cov(contribution, advantage) / var(advantage); empty where the
            file has no contributions.
    """

    name: str
    values_B: Tensor
    distinct: int
    dead_groups: float
    shares: Mapping[str, float]

    @classmethod
    def of(cls, name: str, rewards: RewardMatrix, values_B: Tensor, contributions_BK: Tensor | None) -> Replayed:
        """Figures of an answer."""
        zero = values_B.abs() < 10.0**-DECIMALS
        groups = [bool(zero[rewards.group_ids_B == group].all()) for group in rewards.group_ids_B.unique()]
        shares: dict[str, float] = {}
        apart = values_B - values_B.mean()
        if contributions_BK is not None and float(apart.square().sum()) > 0:
            parts = (contributions_BK - contributions_BK.mean(0)).T @ apart / apart.square().sum()
            shares = dict(zip(rewards.names, parts.tolist(), strict=True))
        distinct = len(torch.unique((values_B * 10**DECIMALS).round()))
        return cls(name, values_B, distinct, sum(groups) / len(groups), shares)


def logged(step: StepSamples, weights: Mapping[str, float]) -> tuple[RewardMatrix, Replayed | None]:
    """The rewards of a step, and the advantages that it had; None where the file does not say."""
    samples = step.samples
    names = tuple(samples[0].rewards)
    if any(tuple(one.rewards) != names for one in samples):
        raise DataError(f"the samples of step {step.step} do not all have the rewards {', '.join(names)}")
    columns = {name: [None if one.left_out else one.rewards[name] for one in samples] for name in names}
    lengths = None
    if all(one.tokens is not None for one in samples):
        lengths = torch.tensor([one.tokens or 0 for one in samples])
    groups = [one.group for one in samples]
    # The estimator of step n was told of n - 1 finished ones.
    rewards = matrix(columns, groups, weights=weights, lengths=lengths, step=max(0, step.step - 1))
    if any(one.advantage is None for one in samples):
        return rewards, None
    values = torch.tensor([one.advantage for one in samples], dtype=torch.float64)
    contributions = None
    if all(one.contributions.keys() >= set(names) for one in samples):
        rows = [[one.contributions[name] for name in names] for one in samples]
        contributions = torch.tensor(rows, dtype=torch.float64)
    return rewards, Replayed.of("logged", rewards, values, contributions)


def replay(
    view: View, step: StepSamples, name: str, settings: Mapping[str, Any]
) -> tuple[RewardMatrix, list[Replayed]]:
    """The logged advantages, if any, and those of the named estimator.

    Args:
        settings: options of the estimator, and `weights.<reward>` for other weights than the config's.

    Raises:
        ConfigError: a weight of a reward that is not there; options that the estimator refuses.
        PluginError: an unknown estimator.
    """
    names = list(step.samples[0].rewards)
    weights = {reward: view.weight(reward) for reward in names}
    options: dict[str, Any] = {}
    for key, value in settings.items():
        head, dot, reward = key.partition(".")
        if head != "weights" or not dot:
            options[key] = value
            continue
        if reward not in names:
            raise ConfigError(
                f"--set {key}: unknown reward {reward!r}{suggest(reward, names)}; rewards: {', '.join(names)}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"--set {key}: a weight must be a number; got {value!r}")
        weights[reward] = float(value)
    chosen = estimator(name, **options)
    if hasattr(chosen, "check_rewards"):
        chosen.check_rewards(tuple(names))
    rewards, own = logged(step, weights)
    rewards = evolve(rewards, bounds=_bounds(view, names))
    answer: Advantages = asked(chosen, rewards, "morl replay")
    values, contributions = answer.values_B.double(), answer.contributions_BK.double()
    return rewards, [*([own] if own is not None else []), Replayed.of(name, rewards, values, contributions)]


def _bounds(view: View, names: list[str]) -> dict[str, tuple[float, float]]:
    """Those that the config declares; those of the providers are not written down."""
    entries = view.config.get("rewards")
    found = {}
    for name in names:
        entry = entries.get(name) if isinstance(entries, dict) else None
        bounds = entry.get("bounds") if isinstance(entry, dict) else None
        if isinstance(bounds, list) and len(bounds) == 2:
            found[name] = (float(bounds[0]), float(bounds[1]))
    return found


def table(rewards: RewardMatrix, found: list[Replayed], rows: int) -> str:
    """The figures side by side, then the first completions."""
    width = max(14, *(len(f"share of {name}") for name in rewards.names))
    lines = [f"{'':{width}} " + " ".join(f"{one.name:>14.14}" for one in found)]
    lines.append(f"{'distinct':{width}} " + " ".join(f"{one.distinct:14d}" for one in found))
    lines.append(f"{'dead groups':{width}} " + " ".join(f"{one.dead_groups:14.1%}" for one in found))
    for name in rewards.names:
        shares = [f"{one.shares[name]:.1%}" if name in one.shares else "-" for one in found]
        lines.append(f"{f'share of {name}':{width}} " + " ".join(f"{share:>14}" for share in shares))
    if len(found) == 2:
        signs = int((found[0].values_B * found[1].values_B < 0).sum())
        lines.append(f"{signs} of {len(rewards.values_BK)} advantages have another sign than logged.")
    heads = [f"{name:>10.10}" for name in rewards.names]
    lines += ["", " ".join(["completion group", *heads, "|", *(f"{one.name:>14.14}" for one in found)])]
    for row in range(min(rows, len(rewards.values_BK))):
        scores = [f"{score:10.4g}" if score == score else f"{'-':>10}" for score in rewards.values_BK[row].tolist()]
        values = [f"{float(one.values_B[row]):14.6f}" for one in found]
        lines.append(" ".join([f"{row:10d} {int(rewards.group_ids_B[row]):5d}", *scores, "|", *values]))
    if rows < len(rewards.values_BK):
        lines.append(f"... {len(rewards.values_BK) - rows} more")
    return "\n".join(lines)
