"""Scores held-out prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from attrs import evolve

from morl.artifacts.metrics import LENGTH_MEAN, TRUNCATED, Metrics
from morl.config.schema import Config
from morl.hookspecs import RolloutBackend
from morl.reward.scorer import RewardScorer
from morl.runtime import seeds
from morl.runtime.exchange import Exchange
from morl.runtime.sampling import sample
from morl.runtime.scores import BatchScores
from morl.types import EncodedPrompt, RewardScores, RolloutBatch, Sampling

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
    scores = score_held_out(config, prompts, backend, scorer, exchange)
    means = scores.values_BK.nanmean(0).tolist()
    return {
        **dict(zip(scorer.names, means, strict=True)),
        LENGTH_MEAN.name: float(scores.lengths_B.double().mean()),
        TRUNCATED.name: float(scores.truncated_B.double().mean()),
    }


def score_held_out(
    config: Config,
    prompts: Sequence[EncodedPrompt],
    backend: RolloutBackend,
    scorer: RewardScorer,
    exchange: Exchange,
    observe: Callable[[RolloutBatch, RewardScores], None] | None = None,
) -> BatchScores:
    """Scores of the completions of all ranks, in the order of the prompts; every rank must call.

    Args:
        observe: is shown what this rank sampled and scored, in parts.
    """
    assert config.evaluation is not None
    assert len(prompts)
    sampling, samples = held_out_sampling(config), config.evaluation.samples
    parts = []
    mine = exchange.share(len(prompts))
    for start in range(mine.start, mine.stop, CHUNK):
        rows = range(start, min(start + CHUNK, mine.stop))
        draws = [seeds.derive(config.seed, seeds.EVALUATION, row) for row in rows]
        rollouts = sample(backend, [prompts[row] for row in rows], samples, sampling, draws)
        scores = scorer.score(rollouts.completions())
        if observe is not None:
            observe(rollouts, scores)
        parts.append(
            BatchScores(
                positions_B=torch.tensor(rows)[rollouts.group_ids_B],
                values_BK=scores.values_BK,
                failed_BK=scores.failed_BK,
                dropped_B=scores.dropped_B,
                lengths_B=rollouts.lengths_B,
                truncated_B=rollouts.truncated_B,
                spans=rollouts.spans,
            )
        )
    # With fewer prompts than ranks some have none.
    gathered = exchange.gather(BatchScores.concatenate(parts) if parts else None)
    return BatchScores.concatenate([part for part in gathered if part is not None])


def held_out_sampling(config: Config) -> Sampling:
    """How completions of held-out prompts are drawn."""
    assert config.evaluation is not None
    temperature = config.evaluation.temperature
    return config.sampling if temperature is None else evolve(config.sampling, temperature=temperature)
