"""What a step says about itself: pure functions from the gathered batch to named numbers.

The names and their meanings are in `morl.artifacts.metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from morl.advantage.deviations import varies
from morl.artifacts import metrics as names
from morl.artifacts.metrics import Metrics
from morl.runtime.scores import BatchScores, ConversationFigures
from morl.training.collect import Experience
from morl.types import Advantages, CompletionStatus, RewardMatrix

FIFTHS = 5
DECIMALS = 9
"""Advantages that agree to this many decimals count as one value."""


def experience_metrics(experience: Experience) -> Metrics:
    """Rewards, advantages and completions of one rollout batch."""
    return {
        **reward_metrics(experience.rewards, experience.scores.failed_BK),
        **conditioned_metrics(experience.conditioned, experience.counted),
        **advantage_metrics(experience.rewards, experience.advantages),
        **group_metrics(experience.rewards, experience.advantages, experience.with_signal_P),
        **completion_metrics(experience.scores),
        **conversation_metrics(experience.scores.conversations),
        names.GROUPS_KEPT.name: experience.kept_groups,
    }


def reward_metrics(rewards: RewardMatrix, failed_BK: Tensor) -> Metrics:
    """Per reward: mean, standard deviation, saturation, groups, histogram, failures, missing values; correlations.

    `failed` and `missing` are shares of completions; a failure under the policy `zero` is failed but not missing.
    """
    metrics: Metrics = {}
    values = rewards.values_BK.to(torch.float64)
    for k, name in enumerate(rewards.names):
        valid = rewards.valid_BK[:, k]
        present = values[valid, k]
        metrics[names.REWARD_MEAN.of(name)] = float(present.mean()) if len(present) else float("nan")
        metrics[names.REWARD_STD.of(name)] = float(present.std()) if len(present) > 1 else 0.0
        if name in rewards.bounds:
            mean = torch.tensor(metrics[names.REWARD_MEAN.of(name)], dtype=torch.float64)
            metrics[names.REWARD_SATURATION.of(name)] = float(_between(mean, *rewards.bounds[name]))
        metrics |= score_metrics(rewards, k)
        metrics[names.REWARD_FAILED.of(name)] = float(failed_BK[:, k].double().mean())
        metrics[names.REWARD_MISSING.of(name)] = 1 - float(valid.double().mean())
    for k, first in enumerate(rewards.names):
        for m, second in enumerate(rewards.names[k + 1 :], start=k + 1):
            both = rewards.valid_BK[:, k] & rewards.valid_BK[:, m]
            metrics[names.REWARD_CORRELATION.of(first, second)] = _correlation(values[both, k], values[both, m])
    combinations = torch.where(rewards.valid_BK, values, torch.inf)
    metrics[names.DISTINCT_COMBINATIONS.name] = len(torch.unique(combinations, dim=0))
    return metrics


def score_metrics(rewards: RewardMatrix, k: int) -> Metrics:
    """Of reward k: groups that are mixed, all at its lowest, all at its highest; ends and histogram of its scores."""
    name, bounds = rewards.names[k], rewards.bounds_K2[k]
    low_P, high_P = _group_ends(rewards, k)
    present = rewards.values_BK[rewards.valid_BK[:, k], k].to(torch.float64)
    ends = (float(present.min()), float(present.max())) if len(present) else (math.nan, math.nan)
    floor, ceiling = _scale(rewards, k, *ends)
    mixed_P, scored_P = varies(low_P, high_P, bounds), high_P >= low_P

    def at(values_P: Tensor, end: float) -> Tensor:
        ends_P = torch.full_like(values_P, end)
        return scored_P & ~varies(torch.minimum(values_P, ends_P), torch.maximum(values_P, ends_P), bounds)

    shares = {
        names.REWARD_DEAD_GROUPS: ~mixed_P,
        names.REWARD_MIXED: mixed_P,
        names.REWARD_ALL_LOW: at(low_P, floor) & ~mixed_P,
        names.REWARD_ALL_HIGH: at(low_P, ceiling) & ~mixed_P,
        names.REWARD_REACHED: at(high_P, ceiling),
    }
    metrics = {metric.of(name): float(groups_P.double().mean()) for metric, groups_P in shares.items()}
    metrics |= {names.REWARD_MIN.of(name): ends[0], names.REWARD_MAX.of(name): ends[1]}
    places = _between(present, floor, ceiling)
    fifths = torch.bincount((places * FIFTHS).floor().clamp(0, FIFTHS - 1).long(), minlength=FIFTHS)
    for fifth, count in enumerate(fifths.tolist(), start=1):
        metrics[names.REWARD_HISTOGRAM.of(name, str(fifth))] = count / len(present) if len(present) else math.nan
    return metrics


def _between(values: Tensor, low: float, high: float) -> Tensor:
    """Where values lie on the way from `low`, 0, to `high`, 1; a range of the largest floats does not overflow."""
    if math.isinf(high - low):
        values, low, high = values / 2, low / 2, high / 2
    return (values - low) / (high - low)


def _scale(rewards: RewardMatrix, k: int, low: float, high: float) -> tuple[float, float]:
    """The lowest and the highest score there can be: the bounds, else the ends of the batch, else 0 and 1."""
    if (bounds := rewards.bounds.get(rewards.names[k])) is not None:
        return bounds
    ends = torch.tensor([low, high], dtype=torch.float64)
    return (low, high) if bool(varies(ends[0], ends[1])) else (0.0, 1.0)


def conditioned_metrics(rewards: RewardMatrix, counted: Mapping[str, Tensor]) -> Metrics:
    """How often the conditioned rewards count, and their figures as the estimator sees them.

    Args:
        rewards: with the conditions applied.
        counted: where each conditioned reward counts, by name.
    """
    metrics: Metrics = {}
    for name, counts_B in counted.items():
        k = rewards.names.index(name)
        values, valid = rewards.values_BK[:, k].to(torch.float64), rewards.valid_BK[:, k]
        present = values[valid]
        metrics[names.REWARD_COUNTED.of(name)] = float(counts_B.double().mean())
        metrics[names.CONDITIONED_MEAN.of(name)] = float(present.mean()) if len(present) else float("nan")
        metrics[names.CONDITIONED_STD.of(name)] = float(present.std()) if len(present) > 1 else 0.0
        metrics[names.CONDITIONED_DEAD_GROUPS.of(name)] = 1 - _share_that_varies(rewards, k)
    return metrics


def advantage_metrics(rewards: RewardMatrix, advantages: Advantages) -> Metrics:
    """Distinct advantage values, their scale, and the share of their variance that each reward supplies.

    The share of reward k is cov(contribution_k, A) / var(A): the shares sum to 1, and one is negative where a reward
    works against the others.
    """
    values = advantages.values_B.to(torch.float64)
    contributions = advantages.contributions_BK.to(torch.float64)
    variance = float(values.square().mean())
    metrics: Metrics = {
        names.ADVANTAGE_DISTINCT.name: len(torch.unique(values.round(decimals=DECIMALS))),
        names.ADVANTAGE_STD.name: variance**0.5,
        names.ADVANTAGE_MAX_ABS.name: float(values.abs().max()),
    }
    for k, name in enumerate(rewards.names):
        shared = float((contributions[:, k] * values).mean())
        metrics[names.REWARD_ADVANTAGE_SHARE.of(name)] = shared / variance if variance > 0 else 0.0
    for k, first in enumerate(rewards.names):
        for m, second in enumerate(rewards.names[k + 1 :], start=k + 1):
            shared = float((contributions[:, k] * contributions[:, m]).mean())
            metrics[names.CONTRIBUTION_COVARIANCE.of(first, second)] = shared / variance if variance > 0 else 0.0
    return metrics


def group_metrics(rewards: RewardMatrix, advantages: Advantages, with_signal_P: Tensor) -> Metrics:
    """Share of the groups in which a weighted reward varies, and of those of them that cancel.

    The rewards of a group cancel where some vary and every advantage is 0 all the same: nothing is learned from it.
    """
    groups_B = torch.unique(rewards.group_ids_B, return_inverse=True)[1]
    learned_P = torch.zeros_like(with_signal_P)
    learned_P[groups_B[advantages.values_B != 0]] = True
    return {
        names.GROUPS_WITH_SIGNAL.name: float(with_signal_P.double().mean()),
        names.GROUPS_CANCELLED.name: float((with_signal_P & ~learned_P).double().mean()),
    }


def completion_metrics(scores: BatchScores) -> Metrics:
    """Length in tokens and share of completions that ended at the token limit."""
    lengths = scores.lengths_B.double()
    return {
        names.LENGTH_MEAN.name: float(lengths.mean()),
        names.LENGTH_MAX.name: float(lengths.max()),
        names.TRUNCATED.name: float(scores.truncated_B.double().mean()),
        names.DROPPED.name: float(scores.dropped_B.double().mean()),
    }


def conversation_metrics(conversations: Sequence[ConversationFigures]) -> Metrics:
    """Turns, calls and tokens of conversations, and how they ended; nothing of completions that are none."""
    if not conversations:
        return {}
    means = {
        names.TURNS: "turns",
        names.TOOL_CALLS: "tool_calls",
        names.FAILED_CALLS: "failed_calls",
        names.ENVIRONMENT_TOKENS: "environment_tokens",
        names.ENVIRONMENT_SECONDS: "seconds",
    }
    count = len(conversations)
    metrics = {metric.name: sum(getattr(each, key) for each in conversations) / count for metric, key in means.items()}
    for status in CompletionStatus:
        metrics[names.STATUS.of(status.value)] = sum(each.status is status for each in conversations) / count
    return metrics


def _share_that_varies(rewards: RewardMatrix, k: int) -> float:
    """Share of the groups in which the reward of column k varies."""
    return float(varies(*_group_ends(rewards, k), rewards.bounds_K2[k]).double().mean())


def _group_ends(rewards: RewardMatrix, k: int) -> tuple[Tensor, Tensor]:
    """Lowest and highest score of each group, (P,), float64; infinity and minus infinity where it has none."""
    values_B, valid_B = rewards.values_BK[:, k].to(torch.float64), rewards.valid_BK[:, k]
    groups = torch.unique(rewards.group_ids_B, return_inverse=True)[1]
    count = int(groups.max()) + 1
    low = torch.full((count,), torch.inf, dtype=values_B.dtype)
    low.scatter_reduce_(0, groups[valid_B], values_B[valid_B], "amin")
    high = torch.full((count,), -torch.inf, dtype=values_B.dtype)
    high.scatter_reduce_(0, groups[valid_B], values_B[valid_B], "amax")
    return low, high


def _correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's; NaN where one of the two is constant."""
    if len(first) < 2 or first.min() == first.max() or second.min() == second.max():
        return float("nan")
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])
