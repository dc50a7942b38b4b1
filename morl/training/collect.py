"""prompts -> rollout -> reward -> advantage: everything that happens before the loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from attrs import define, field, frozen
from torch import Tensor

from morl.hookspecs import AdvantageEstimator
from morl.plugins import Registry
from morl.reward.scorer import RewardScorer
from morl.runtime.exchange import Exchange
from morl.runtime.scores import BatchScores, ConversationFigures
from morl.training.advantages import ask_estimator, conditioned, counted, weights_used, with_signal
from morl.training.rollouts import Rollouts
from morl.types import Advantages, RewardMatrix, RewardScores, RolloutBatch, Turn


@frozen(eq=False)
class Experience:
    """One rollout batch, ready for the update.

    Attributes:
        rollouts: this rank's completions.
        spare: one completion of this rank, which has none in `rollouts` where dynamic sampling dropped them all.
        local_rows: row of each of them in the tensors below.
        scores: of all ranks' completions.
        rewards: the matrix that the estimator was given.
        conditioned: the same with the conditions applied, as the estimator inside `conditioned-<name>` sees it.
        counted: where each conditioned reward counts, bool (B,), by name.
        weights_BK: what it gave each reward of each completion.
        advantages: its answer.
        with_signal_P: groups, in the order of their ids, in which some weighted reward varies.
        consumed_prompts: how far the stream of prompts advanced.
        kept_groups: share of the sampled groups that dynamic sampling kept; 1 when it is off.
        seconds: spent in `rollout`, `reward`, `reward/<entry>` and `advantage` on this rank.
    """

    rollouts: RolloutBatch
    spare: RolloutBatch
    local_rows: Tensor
    scores: BatchScores
    rewards: RewardMatrix
    conditioned: RewardMatrix
    counted: Mapping[str, Tensor]
    weights_BK: Tensor
    advantages: Advantages
    with_signal_P: Tensor
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

    rollouts: Rollouts
    scorer: RewardScorer
    estimator: AdvantageEstimator
    registry: Registry
    prompts_per_step: int
    group_size: int
    rounds: int
    label: str = ""
    without_truncated: bool = False
    logprobs: Callable[[RolloutBatch], tuple[Tensor, Tensor]] | None = None

    def collect(self, step: int, position: int, exchange: Exchange) -> Experience:
        """The experience of step `step`, from the prompts at `position` of the stream onwards."""
        watch = Stopwatch()
        parts: list[RolloutBatch] = []
        gathered: list[BatchScores] = []
        sampled = kept = 0
        for _ in range(max(self.rounds, 1)):
            missing = self.prompts_per_step - kept
            # Every rank takes part in every round.  Where fewer prompts are missing than there are ranks, the surplus
            # only keeps the others company: it is neither used nor counted, for one rank would not have drawn it.
            count = max(missing, exchange.size)
            rollouts, scores = self._round(step, position + sampled, count, exchange, watch)
            sampled += missing
            wanted_P = torch.arange(count) < missing
            with watch.measure("advantage"):
                kept_P = wanted_P & self._with_signal(scores, step) if self.rounds else wanted_P
            kept += int(kept_P.sum())
            parts.append(self._local(rollouts, kept_P, exchange))
            gathered.append(self._global(scores, kept_P))
            if kept == self.prompts_per_step:
                break
        if kept == 0:
            # Nothing to learn from: the last round stands in, so that every rank still makes the same steps.
            parts, gathered = [self._local(rollouts, wanted_P, exchange)], [self._global(scores, wanted_P)]

        self.scorer.judge(exchange.gather(self.scorer.take_tallies()))
        scores = BatchScores.concatenate(gathered)
        with watch.measure("advantage"):
            rewards = self._matrix(scores, step)
            advantages = ask_estimator(self.estimator, rewards, self.label)
        self.registry.observe("morl_advantages_ready", step=step, rewards=rewards, advantages=advantages)
        return Experience(
            rollouts=RolloutBatch.concatenate(parts),
            spare=rollouts.select([0]),
            local_rows=self._local_rows(gathered, parts, exchange),
            scores=scores,
            rewards=rewards,
            conditioned=conditioned(self.estimator, rewards),
            counted=counted(self.estimator, rewards),
            weights_BK=weights_used(self.estimator, rewards).expand(rewards.values_BK.shape),
            advantages=advantages,
            with_signal_P=with_signal(self.estimator, rewards),
            consumed_prompts=sampled,
            kept_groups=kept / sampled,
            seconds=watch.seconds,
        )

    def _round(
        self, step: int, position: int, count: int, exchange: Exchange, watch: Stopwatch
    ) -> tuple[RolloutBatch, BatchScores]:
        places = [position + offset for offset in exchange.share(count)]
        with watch.measure("rollout"):
            rollouts = self.rollouts.take(position, count, exchange)
        self.registry.observe("morl_rollouts_ready", step=step, rollouts=rollouts)
        with watch.measure("reward"):
            logprobs = () if self.logprobs is None else self.logprobs(rollouts)
            scores = exchange.together(lambda: self.scorer.score(rollouts.completions(*logprobs)))
        for entry, seconds in scores.seconds.items():
            watch.seconds[f"reward/{entry}"] = watch.seconds.get(f"reward/{entry}", 0.0) + seconds
        self.registry.observe("morl_rewards_ready", step=step, rollouts=rollouts, scores=scores)
        return rollouts, _gather(torch.tensor(places, dtype=torch.int64), rollouts, scores, exchange)

    def _matrix(self, scores: BatchScores, step: int) -> RewardMatrix:
        out_B = scores.dropped_B | scores.truncated_B if self.without_truncated else scores.dropped_B
        return RewardMatrix(
            scores.values_BK,
            scores.positions_B,
            self.scorer.names,
            self.scorer.weights,
            valid_BK=~scores.values_BK.isnan() & ~out_B[:, None],
            lengths_B=scores.lengths_B,
            spans=scores.spans,
            turn_rewards=scores.turn_rewards if any(any(turns) for turns in scores.turn_rewards) else None,
            bounds=self.scorer.bounds,
            step=step,
        )

    def _local(self, rollouts: RolloutBatch, groups_P: Tensor, exchange: Exchange) -> RolloutBatch:
        """This rank's completions of the chosen groups of one round."""
        mine = exchange.share(len(groups_P))
        rows = groups_P[mine.start : mine.stop].repeat_interleave(self.group_size)
        return rollouts.select(rows.nonzero()[:, 0].tolist())

    def _global(self, scores: BatchScores, groups_P: Tensor) -> BatchScores:
        """All ranks' scores of the chosen groups of one round."""
        return scores.select(groups_P.repeat_interleave(self.group_size))

    def _with_signal(self, scores: BatchScores, step: int) -> Tensor:
        """For each group, whether its rewards tell its completions apart; see `with_signal`."""
        return with_signal(self.estimator, self._matrix(scores, step))

    def _local_rows(self, gathered: list[BatchScores], parts: list[RolloutBatch], exchange: Exchange) -> Tensor:
        """Rows of this rank's completions in the gathered matrix: one contiguous run per round."""
        sizes = exchange.gather([len(part) for part in parts])
        local, base = [], 0
        for number, scores in enumerate(gathered):
            start = base + sum(rank_sizes[number] for rank_sizes in sizes[: exchange.rank])
            local.append(torch.arange(start, start + sizes[exchange.rank][number]))
            base += len(scores.positions_B)
        return torch.cat(local)


def _given(turn: Turn) -> dict[str, float]:
    return {name: float(reward) for name, reward in turn.rewards.items() if reward is not None}


def _gather(positions_P: Tensor, rollouts: RolloutBatch, scores: RewardScores, exchange: Exchange) -> BatchScores:
    local = BatchScores(
        positions_P[rollouts.group_ids_B],
        scores.values_BK,
        scores.failed_BK,
        scores.dropped_B,
        rollouts.lengths_B,
        rollouts.truncated_B,
        spans=rollouts.spans,
        turn_rewards=tuple(tuple(_given(turn) for turn in turns) for turns in rollouts.turns),
        conversations=ConversationFigures.of(rollouts),
    )
    return BatchScores.concatenate(exchange.gather(local))
