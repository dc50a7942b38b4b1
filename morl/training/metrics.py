"""What a step says about itself: pure functions from the gathered batch to named numbers.

The names and their meanings are in `morl.artifacts.metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from morl.advantage.groups import varies
from morl.artifacts import metrics as names
from morl.artifacts.metrics import Metrics
from morl.runtime.scores import BatchScores, ConversationFigures
from morl.training.collect import Experience
from morl.types import Advantages, CompletionStatus, RewardMatrix

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
    """Per reward: mean, standard deviation, saturation, share of dead groups, failures, missing values; correlations.

    `dead_groups` is the share of groups in which the reward has no two different values.  `failed` and `missing` are
    shares of completions; a failure under the policy `zero` is failed but not missing.
    """
    metrics: Metrics = {}
    values = rewards.values_BK.to(torch.float64)
    for k, name in enumerate(rewards.names):
        valid = rewards.valid_BK[:, k]
        present = values[valid, k]
        metrics[names.REWARD_MEAN.of(name)] = float(present.mean()) if len(present) else float("nan")
        metrics[names.REWARD_STD.of(name)] = float(present.std()) if len(present) > 1 else 0.0
        if name in rewards.bounds:
            low, high = rewards.bounds[name]
            share = (metrics[names.REWARD_MEAN.of(name)] / 2 - low / 2) / (high / 2 - low / 2)  # halved: no overflow
            metrics[names.REWARD_SATURATION.of(name)] = share
        metrics[names.REWARD_DEAD_GROUPS.of(name)] = 1 - _share_that_varies(rewards, k)
        metrics[names.REWARD_FAILED.of(name)] = float(failed_BK[:, k].double().mean())
        metrics[names.REWARD_MISSING.of(name)] = 1 - float(valid.double().mean())
    for k, first in enumerate(rewards.names):
        for m, second in enumerate(rewards.names[k + 1 :], start=k + 1):
            both = rewards.valid_BK[:, k] & rewards.valid_BK[:, m]
            metrics[names.REWARD_CORRELATION.of(first, second)] = _correlation(values[both, k], values[both, m])
    combinations = torch.where(rewards.valid_BK, values, torch.inf)
    metrics[names.DISTINCT_COMBINATIONS.name] = len(torch.unique(combinations, dim=0))
    return metrics


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
    values_B, valid_B = rewards.values_BK[:, k].to(torch.float64), rewards.valid_BK[:, k]
    bounds = rewards.bounds_K2[k]
    groups = torch.unique(rewards.group_ids_B, return_inverse=True)[1]
    count = int(groups.max()) + 1
    low = torch.full((count,), torch.inf, dtype=values_B.dtype)
    low.scatter_reduce_(0, groups[valid_B], values_B[valid_B], "amin")
    high = torch.full((count,), -torch.inf, dtype=values_B.dtype)
    high.scatter_reduce_(0, groups[valid_B], values_B[valid_B], "amax")
    return float(varies(low, high, bounds).double().mean())


def _correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's; NaN where one of the two is constant."""
    if len(first) < 2 or first.min() == first.max() or second.min() == second.max():
        return float("nan")
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])
