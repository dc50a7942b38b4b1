"""Scores held-out prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import evolve

from morl.config.schema import Config
from morl.hookspecs import RolloutBackend
from morl.reward.scorer import RewardScorer
from morl.training import seeds
from morl.training.exchange import Exchange
from morl.training.metrics import Metrics
from morl.types import EncodedPrompt

CHUNK = 64
"""Prompts generated at once, so that a large evaluation set needs no more memory than training."""


def evaluate(
    config: Config,
    prompts: Sequence[EncodedPrompt],
    backend: RolloutBackend,
    scorer: RewardScorer,
    exchange: Exchange,
) -> Metrics:
    """Mean of every reward over the prompts, mean length and truncated share.

    The seeds are those of the prompts' rows, the same at every call, so that two evaluations differ by the weights
    alone.
    """
    assert config.evaluation is not None
    sampling = config.sampling
    if config.evaluation.temperature is not None:
        sampling = evolve(sampling, temperature=config.evaluation.temperature)
    values, lengths, truncated = [], [], []
    mine = exchange.share(len(prompts))
    for start in range(mine.start, mine.stop, CHUNK):
        rows = range(start, min(start + CHUNK, mine.stop))
        rollouts = backend.generate(
            [prompts[row] for row in rows],
            config.evaluation.samples,
            sampling,
            [seeds.derive(config.seed, seeds.EVALUATION, row) for row in rows],
        )
        values.append(scorer.score(rollouts.completions()).values_BK)
        lengths.append(rollouts.lengths_B)
        truncated.append(rollouts.truncated_B)
    gathered = exchange.gather((torch.cat(values), torch.cat(lengths), torch.cat(truncated)) if values else None)
    parts = [part for part in gathered if part is not None]
    values_BK = torch.cat([part[0] for part in parts])
    means = values_BK.nanmean(0).tolist()
    return {
        **dict(zip(scorer.names, means, strict=True)),
        "length": float(torch.cat([part[1] for part in parts]).double().mean()),
        "truncated": float(torch.cat([part[2] for part in parts]).double().mean()),
    }
