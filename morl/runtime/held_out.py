"""Scores held-out prompts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from attrs import evolve, field, frozen

from morl.artifacts.metrics import LENGTH_MEAN, SCORED, TRUNCATED, Metrics
from morl.config.schema import Config
from morl.hookspecs import RolloutBackend
from morl.reward.scorer import RewardScorer
from morl.runtime import seeds
from morl.runtime.estimates import Estimate, estimate, is_binary, means_by_prompt, prompt_means
from morl.runtime.exchange import Exchange
from morl.runtime.samples import bounded, rollout_rows
from morl.runtime.sampling import sample
from morl.runtime.scores import BatchScores
from morl.runtime.sources import source_metrics
from morl.types import EncodedPrompt, RewardScores, RolloutBatch, Sampling

CHUNK = 64
"""Prompts generated at once, so that a large evaluation set needs no more memory than training."""

MOST_ROWS = 256
"""Completions of an evaluation that are kept to be read, unless `training.samples_limit` says another number."""


@frozen
class HeldOut:
    """What an evaluation during training finds.

    Attributes:
        metrics: by name; see `docs/reference/metrics.md`.
        scored: of a reward that some completions have no score of, a fingerprint of those that have one.  The means of
            two evaluations can be compared where the fingerprints are equal.
        estimates: by reward, and by the names of the length and of the truncated share, the mean over prompts with its
            interval.
        by_prompt: of the same, the mean of each prompt that has one, by its row.
        rows: completions with their rewards, as lines of `samples/`; those that were asked for, of the first rank.
    """

    metrics: Metrics
    scored: dict[str, str]
    estimates: dict[str, Estimate] = field(factory=dict)
    by_prompt: dict[str, dict[int, float]] = field(factory=dict)
    rows: tuple[dict[str, Any], ...] = ()

    def change(self, before: HeldOut) -> dict[str, Estimate]:
        """How far each mean is from an earlier one, with the interval of the differences prompt by prompt."""
        shared = {
            name: [value - before.by_prompt[name][row] for row, value in rows.items() if row in before.by_prompt[name]]
            for name, rows in self.by_prompt.items()
            if name in before.by_prompt
        }
        return {name: estimate(differences) for name, differences in shared.items()}


def evaluate(
    config: Config,
    prompts: Sequence[EncodedPrompt],
    backend: RolloutBackend,
    scorer: RewardScorer,
    exchange: Exchange,
    source_column: str | None = None,
    observe: Callable[[RolloutBatch, RewardScores], None] | None = None,
) -> HeldOut:
    """Mean of every reward over the prompts, which share of the completions it is a mean of, length, truncated share.

    The seeds are those of the prompts' rows, the same at every call, so that two evaluations differ by the weights
    alone.

    Args:
        observe: is shown what this rank sampled and scored, in parts.
    """
    training = config.training
    most_rows = (training.samples_limit or MOST_ROWS) if training.samples_every else 0
    rows: list[dict[str, Any]] = []

    def keep(rollouts: RolloutBatch, scores: RewardScores) -> None:
        if observe is not None:
            observe(rollouts, scores)
        if len(rows) < most_rows:
            rows.extend(_rows(rollouts, scores, scorer.names)[: most_rows - len(rows)])

    scores = score_held_out(config, prompts, backend, scorer, exchange, keep)
    means = scores.values_BK.nanmean(0).tolist()
    metrics = {
        **dict(zip(scorer.names, means, strict=True)),
        **{SCORED.of(name): share for name, share in coverage(scores, scorer, prompts).items()},
        LENGTH_MEAN.name: float(scores.lengths_B.double().mean()),
        TRUNCATED.name: float(scores.truncated_B.double().mean()),
    }
    if source_column is not None:
        asked = [prompts[row] for row in scores.positions_B.tolist()]
        metrics |= source_metrics(asked, source_column, scorer.names, scores.values_BK)
    measured = dict(zip(scorer.names, scores.values_BK.T, strict=True))
    measured |= {LENGTH_MEAN.name: scores.lengths_B.double(), TRUNCATED.name: scores.truncated_B.double()}
    return HeldOut(
        metrics,
        _which_are_scored(scores, scorer.names),
        {
            name: estimate(prompt_means(values_B.double(), scores.positions_B), share=is_binary(values_B))
            for name, values_B in measured.items()
        },
        {name: means_by_prompt(values_B.double(), scores.positions_B) for name, values_B in measured.items()},
        tuple(rows),
    )


def _rows(rollouts: RolloutBatch, scores: RewardScores, names: Sequence[str]) -> list[dict[str, Any]]:
    values_BK, failed_BK = scores.values_BK.tolist(), scores.failed_BK.tolist()
    return [
        {
            **row,
            "columns": {key: bounded(value) for key, value in rollouts.prompts[group].prompt.columns.items()},
            "rewards": {n: None if math.isnan(v) else v for n, v in zip(names, values_BK[b], strict=True)},
            "failed": [name for name, has in zip(names, failed_BK[b], strict=True) if has],
        }
        for b, (row, group) in enumerate(zip(rollout_rows(rollouts), rollouts.group_ids_B.tolist(), strict=True))
    ]


def score_held_out(
    config: Config,
    prompts: Sequence[EncodedPrompt],
    backend: RolloutBackend,
    scorer: RewardScorer,
    exchange: Exchange,
    observe: Callable[[RolloutBatch, RewardScores], None] | None = None,
    is_reference: bool = False,
) -> BatchScores:
    """Scores of the completions of all ranks, in the order of the prompts; every rank must call.

    Args:
        observe: is shown what this rank sampled and scored, in parts.
        is_reference: the policy that samples is the reference, so that rewards that look at it are told the same
            log-probabilities of both; otherwise they are told none.
    """
    assert config.evaluation is not None
    assert len(prompts)
    mine = exchange.share(len(prompts))
    chunks = [range(start, min(start + CHUNK, mine.stop)) for start in range(mine.start, mine.stop, CHUNK)]

    def scored() -> list[BatchScores]:
        return [_score_chunk(config, prompts, rows, backend, scorer, observe, is_reference) for rows in chunks]

    parts = exchange.together(scored)
    scorer.judge(exchange.gather(scorer.take_tallies()))
    # With fewer prompts than ranks some have none.
    gathered = exchange.gather(BatchScores.concatenate(parts) if parts else None)
    return BatchScores.concatenate([part for part in gathered if part is not None])


def _score_chunk(
    config: Config,
    prompts: Sequence[EncodedPrompt],
    rows: range,
    backend: RolloutBackend,
    scorer: RewardScorer,
    observe: Callable[[RolloutBatch, RewardScores], None] | None,
    is_reference: bool,
) -> BatchScores:
    assert config.evaluation is not None
    draws = [seeds.derive(config.seed, seeds.EVALUATION, row) for row in rows]
    sampling, samples = held_out_sampling(config), config.evaluation.samples
    keep = () if config.evaluation.temperature is None else ("temperature",)
    asked = [prompts[row].sampled(sampling, keep) for row in rows]
    rollouts = sample(backend, asked, samples, sampling, draws)
    known_BT = rollouts.rollout_logprobs_BT if is_reference else None
    scores = scorer.score(rollouts.completions(known_BT, known_BT))
    if observe is not None:
        observe(rollouts, scores)
    return BatchScores(
        positions_B=torch.tensor(rows)[rollouts.group_ids_B],
        values_BK=scores.values_BK,
        failed_BK=scores.failed_BK,
        dropped_B=scores.dropped_B,
        lengths_B=rollouts.lengths_B,
        truncated_B=rollouts.truncated_B,
        spans=rollouts.spans,
    )


def _which_are_scored(scores: BatchScores, names: Sequence[str]) -> dict[str, str]:
    present_BK = ~scores.values_BK.isnan()
    return {
        name: hashlib.sha256(bytes(present_B.tolist())).hexdigest()[:16]
        for name, present_B in zip(names, present_BK.T, strict=True)
        if not present_B.all()
    }


def coverage(scores: BatchScores, scorer: RewardScorer, prompts: Sequence[EncodedPrompt]) -> dict[str, float]:
    """Share of the completions that a reward applies to that have a score, by reward; 1 where it applies to none."""
    shares: dict[str, float] = {}
    for k, name in enumerate(scorer.names):
        applies_P = torch.tensor([scorer.applies(scorer.entry_of(name), prompt.prompt) for prompt in prompts])
        asked_B = applies_P[scores.positions_B]
        present_B = ~scores.values_BK[:, k].isnan()
        shares[name] = float(present_B[asked_B].double().mean()) if asked_B.any() else 1.0
    return shares


def held_out_sampling(config: Config) -> Sampling:
    """How completions of held-out prompts are drawn."""
    assert config.evaluation is not None
    temperature = config.evaluation.temperature
    return config.sampling if temperature is None else evolve(config.sampling, temperature=temperature)
