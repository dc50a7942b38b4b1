"""Figures of the sources of a mixture, one by one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from morl.artifacts.metrics import SOURCE_REWARD, SOURCE_SHARE, Metrics
from morl.types import EncodedPrompt


def source_metrics(prompts: Sequence[EncodedPrompt], column: str, names: Sequence[str], values_BK: Tensor) -> Metrics:
    """Share of the completions, and mean of every reward, by source.

    Args:
        prompts: of each completion.
        column: of the prompts, with the name of the source.
        names: of the rewards.
        values_BK: their scores, NaN where missing.
    """
    labels = [str(prompt.prompt.columns[column]) for prompt in prompts]
    metrics: Metrics = {}
    for source in sorted(set(labels)):
        rows = [row for row, label in enumerate(labels) if label == source]
        metrics[SOURCE_SHARE.of(source)] = len(rows) / len(labels)
        for name, mean in zip(names, values_BK[rows].nanmean(0).tolist(), strict=True):
            metrics[SOURCE_REWARD.of(source, name)] = mean
    return metrics
