"""prompts -> rollout -> reward -> advantage: everything that happens before the loss."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from attrs import define, field, frozen
from torch import Tensor

from morl.hookspecs import AdvantageEstimator, RolloutBackend
from morl.plugins import Registry
from morl.prompts.order import rows
from morl.reward.scorer import RewardScorer
from morl.training import seeds
from morl.training.exchange import Exchange
from morl.types import Advantages, EncodedPrompt, RewardMatrix, RewardScores, RolloutBatch, Sampling


@frozen(eq=False)
class BatchScores:
    """What every rank knows of all completions, in the order of their prompts' positions.

    Attributes:
        positions_B: position of each completion's prompt in the stream of prompts.
        values_BK: rewards as they were scored, float64, NaN where missing.
        failed_BK: the provider failed.
        dropped_B: taken out of the update by the failure policy `drop`.
        lengths_B: tokens.
        truncated_B: ended by the token limit.
    """

    positions_B: Tensor
    values_BK: Tensor
    failed_BK: Tensor
    dropped_B: Tensor
    lengths_B: Tensor
    truncated_B: Tensor

    def select(self, mask_B: Tensor) -> BatchScores:
        return BatchScores(*(column[mask_B] for column in self._columns()))

    @classmethod
    def concatenate(cls, parts: Sequence[BatchScores]) -> BatchScores:
        return cls(*(torch.cat(columns) for columns in zip(*(part._columns() for part in parts), strict=True)))

    def _columns(self) -> tuple[Tensor, ...]:
        return (
            self.positions_B,
            self.values_BK,
            self.failed_BK,
            self.dropped_B,
            self.lengths_B,
            self.truncated_B,
        )


@frozen(eq=False)
class Experience:
    """One rollout batch, ready for the update.

    Attributes:
        rollouts: this rank's completions.
        spare: one completion of this rank, which has none in `rollouts` where dynamic sampling dropped them all.
        local_rows: row of each of them in the tensors below.
        scores: of all ranks' completions.
        rewards: the matrix that the estimator saw.
        advantages: its answer.
        consumed_prompts: how far the stream of prompts advanced.
        kept_groups: share of the sampled groups that dynamic sampling kept; 1 when it is off.
        seconds: spent in `rollout`, `reward` and `advantage` on this rank, and by reward entry.
    """

    rollouts: RolloutBatch
    spare: RolloutBatch
    local_rows: Tensor
    scores: BatchScores
    rewards: RewardMatrix
    advantages: Advantages
    consumed_prompts: int
    kept_groups: float
    seconds: dict[str, float]


@define
class Stopwatch:
    """Adds up seconds by name."""

    seconds: dict[str, float] = field(factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@define(eq=False)
class Collector:
    """Makes one `Experience` per step.

    Every rank samples and scores its share of the prompts; the small score matrix is gathered, every rank computes all
    advantages from the whole of it and uses those of its own completions.  So neither the number of ranks nor the size
    of micro-batches can change an advantage.
    """

    prompts: Sequence[EncodedPrompt]
    backend: RolloutBackend
    scorer: RewardScorer
    estimator: AdvantageEstimator
    registry: Registry
    sampling: Sampling
    prompts_per_step: int
    group_size: int
    rounds: int
    shuffle: bool
    seed: int

    def collect(self, step: int, position: int, exchange: Exchange) -> Experience:
        """The experience of step `step`, from the prompts at `position` of the stream onwards."""
        watch = Stopwatch()
        parts: list[RolloutBatch] = []
        gathered: list[BatchScores] = []
        wanted, sampled, kept, start = self.prompts_per_step, 0, 0, position
        for _ in range(max(self.rounds, 1)):
            # Every rank takes part in every round, so a round has at least one prompt per rank.
            count = max(wanted - kept, exchange.size)
            rollouts, scores = self._round(step, position, count, exchange, watch)
            position, sampled = position + count, sampled + count
            with watch.measure("advantage"):
                signal = self._with_signal(scores) if self.rounds else torch.ones(count, dtype=torch.bool)
            # Groups beyond those wanted are left out, the last ones first.
            signal &= signal.cumsum(0) <= wanted - kept
            kept += int(signal.sum())
            mask_B = signal.repeat_interleave(self.group_size)
            gathered.append(scores.select(mask_B))
            mine = exchange.share(count)
            local = mask_B[mine.start * self.group_size : mine.stop * self.group_size]
            parts.append(rollouts.select(local.nonzero()[:, 0].tolist()))
            if kept >= wanted:
                break

        if kept == 0:
            # Nothing to learn from: the last round stands in, so that every rank still makes the same steps.
            parts, gathered = [rollouts], [scores]

        scores = BatchScores.concatenate(gathered)
        with watch.measure("advantage"):
            rewards = self._matrix(scores)
            advantages = self.estimator(rewards)
        self.registry.observe("morl_advantages_ready", step=step, rewards=rewards, advantages=advantages)
        return Experience(
            rollouts=RolloutBatch.concatenate(parts),
            spare=rollouts.select([0]),
            local_rows=self._local_rows(gathered, parts, exchange),
            scores=scores,
            rewards=rewards,
            advantages=advantages,
            consumed_prompts=position - start,
            kept_groups=kept / sampled,
            seconds=watch.seconds,
        )

    def _round(
        self, step: int, position: int, count: int, exchange: Exchange, watch: Stopwatch
    ) -> tuple[RolloutBatch, BatchScores]:
        mine = exchange.share(count)
        places = [position + offset for offset in mine]
        order = rows(self.seed, position, count, len(self.prompts), shuffle=self.shuffle)
        with watch.measure("rollout"):
            rollouts = self.backend.generate(
                [self.prompts[order[offset]] for offset in mine],
                self.group_size,
                self.sampling,
                [seeds.derive(self.seed, seeds.ROLLOUT, place) for place in places],
            )
        self.registry.observe("morl_rollouts_ready", step=step, rollouts=rollouts)
        with watch.measure("reward"):
            scores = self.scorer.score(rollouts.completions())
        self.registry.observe("morl_rewards_ready", step=step, rollouts=rollouts, scores=scores)
        return rollouts, _gather(torch.tensor(places, dtype=torch.int64), rollouts, scores, exchange)

    def _matrix(self, scores: BatchScores) -> RewardMatrix:
        return RewardMatrix(
            scores.values_BK,
            scores.positions_B,
            self.scorer.names,
            self.scorer.weights,
            valid_BK=~scores.values_BK.isnan() & ~scores.dropped_B[:, None],
            lengths_B=scores.lengths_B,
        )

    def _with_signal(self, scores: BatchScores) -> Tensor:
        """For each group, whether any weighted, normalised reward in it tells its completions apart.

        Asked of the contributions, not of the advantages: rewards that cancel in the sum are signal all the same.
        """
        contributions = self.estimator(self._matrix(scores)).contributions_BK
        return (contributions != 0).any(1).view(-1, self.group_size).any(1)

    def _local_rows(self, gathered: list[BatchScores], parts: list[RolloutBatch], exchange: Exchange) -> Tensor:
        """Rows of this rank's completions in the gathered matrix: one contiguous run per round."""
        sizes = exchange.gather([len(part) for part in parts])
        local, base = [], 0
        for number, scores in enumerate(gathered):
            start = base + sum(rank_sizes[number] for rank_sizes in sizes[: exchange.rank])
            local.append(torch.arange(start, start + sizes[exchange.rank][number]))
            base += len(scores.positions_B)
        return torch.cat(local)


def _gather(positions_P: Tensor, rollouts: RolloutBatch, scores: RewardScores, exchange: Exchange) -> BatchScores:
    local = BatchScores(
        positions_P[rollouts.group_ids_B],
        scores.values_BK,
        scores.failed_BK,
        scores.dropped_B,
        rollouts.lengths_B,
        rollouts.truncated_B,
    )
    return BatchScores.concatenate(exchange.gather(local))
