"""loss -> gradient: one mini-batch of a rollout batch, cut into micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import torch
from attrs import define, field, frozen
from torch import Tensor

from morl.artifacts import metrics as names
from morl.hookspecs import PolicyLoss
from morl.loss import ImportanceWeights, token_weights
from morl.policy.model import PolicyModel
from morl.policy.plan import TrainingPlan
from morl.runtime.exchange import Exchange
from morl.training.batching import micro_batches
from morl.training.collect import Experience
from morl.training.losses import ask_loss
from morl.training.probe import Difference
from morl.types import Advantages, RolloutBatch, TokenBatch

Importance: TypeAlias = Callable[[Tensor, Tensor, Tensor], ImportanceWeights]
"""Old and rollout log-probabilities (B, T), and the mask of sampled tokens -> factors on the token losses."""


@define
class TokenSums:
    """Sums over the tokens of an update, to be turned into means over all ranks' tokens at the end.

    Attributes:
        sums: by name.
        difference: of the policy's log-probabilities from those captured while sampling, where both have its weights.
    """

    sums: dict[str, float] = field(factory=dict)
    difference: Difference = field(factory=Difference)

    def add(self, values: dict[str, Tensor]) -> None:
        """Adds per-token figures, read from the device in one go."""
        totals = torch.stack([value.float().sum() for value in values.values()]).tolist()
        for name, total in zip(values, totals, strict=True):
            self.sums[name] = self.sums.get(name, 0.0) + total


@frozen(eq=False)
class FrozenLogprobs:
    """Log-probabilities of this rank's sampled tokens that no gradient flows through, each (B, T).

    Attributes:
        old_BT: under the policy at the start of the update; the denominator of the importance ratio.
        reference_BT: under the reference policy, or None where the loss does not ask for it.
        capture: `old_BT` is filled in on the way, by the passes before the first optimizer step: where that step learns
            from the whole batch, these are passes of the very policy, and one more would find nothing new.
    """

    old_BT: Tensor
    reference_BT: Tensor | None = None
    capture: bool = False


@define(eq=False)
class Updater:
    """Turns an experience into gradients of the policy.

    Args:
        policy: being trained.
        loss: of each token.
        temperature: of sampling; log-probabilities are those of softmax(logits / temperature).
        max_tokens: of sampling; the divisor of `dr-grpo`.
        importance: factors on the token losses, from old and rollout log-probabilities and mask; None = 1.
        budget: tokens of a micro-batch.
        label: what errors call the loss.
        router_coef: of the policy's loss that balances its routers; 0 does not ask for it.
    """

    policy: PolicyModel
    loss: PolicyLoss
    temperature: float
    max_tokens: int
    importance: Importance | None = None
    budget: int = 2048
    label: str = ""
    router_coef: float = 0.0

    def weights(self, experience: Experience, groups: Tensor) -> Tensor:
        """Weight of the tokens of every completion of the whole batch, 0 outside the mini-batch `groups`."""
        ids = torch.unique(experience.scores.positions_B)[groups]
        used = torch.isin(experience.scores.positions_B, ids) & ~experience.scores.dropped_B
        weights = torch.zeros(len(used), dtype=torch.float64)
        weights[used] = token_weights(experience.scores.lengths_B[used], self.loss.aggregation, self.max_tokens)
        return weights

    def backward(
        self,
        experience: Experience,
        weights_B: Tensor,
        logprobs: FrozenLogprobs,
        exchange: Exchange,
        sync: Callable[[bool], AbstractContextManager[object]],
        manual_backward: Callable[[Tensor], None],
        sums: TokenSums,
        version: int | None,
    ) -> None:
        """Accumulates the gradient of one mini-batch.

        Args:
            weights_B: as `weights` gives them.
            logprobs: what the policy's are compared with.
            exchange: the ranks; the strategy averages their gradients.
            sync: context in which a backward pass exchanges gradients (True) or only accumulates them (False).
            manual_backward: Lightning's.
            sums: receives the loss and the per-token metrics.
            version: of the weights; None once this update has made an optimizer step.
        """
        learned_B = (weights_B[experience.local_rows] != 0) & (experience.rollouts.lengths_B > 0)
        rows = learned_B.nonzero()[:, 0]
        runs = _runs(self.policy, experience.rollouts, rows, self.budget)
        passes = _common_number(len(runs), exchange)
        for number in range(passes):
            with sync(number + 1 == passes):
                if number < len(runs):
                    loss = self._loss(experience, runs[number], weights_B, logprobs, sums, version)
                else:
                    loss = _idle_pass(self.policy, experience).sum() * 0.0
                manual_backward(loss * exchange.size)

    def _loss(
        self,
        experience: Experience,
        run: Tensor,
        weights_B: Tensor,
        logprobs: FrozenLogprobs,
        sums: TokenSums,
        version: int | None,
    ) -> Tensor:
        """What the completions `run` of this rank add to the loss of the mini-batch."""
        rollouts, device = experience.rollouts, _device(self.policy)
        rows = experience.local_rows[run]
        mask = rollouts.sampled_mask_BT[run]
        lengths, statuses = mask.sum(1), rollouts.statuses

        def flat(values_BT: Tensor) -> Tensor:
            return values_BT[run][mask].to(device)

        def spread(values_B: Tensor) -> Tensor:
            return values_B.float().repeat_interleave(lengths).to(device)

        out = self._forward(rollouts, run)
        if logprobs.capture and version is not None:
            logprobs.old_BT[run] = _padded(out.logprobs_T, mask)
        batch = TokenBatch(
            policy_logprobs_T=out.logprobs_T,
            old_logprobs_T=flat(logprobs.old_BT),
            rollout_logprobs_T=flat(rollouts.rollout_logprobs_BT),
            advantages_T=_advantages(experience.advantages, rows, mask).to(device),
            rows_T=torch.arange(len(run)).repeat_interleave(lengths).to(device),
            ref_logprobs_T=None if logprobs.reference_BT is None else flat(logprobs.reference_BT),
            entropy_T=out.entropy_T,
            lengths_B=lengths.to(device),
            truncated_B=rollouts.truncated_B[run].to(device),
            statuses=tuple(statuses[row] for row in run.tolist()),
        )
        losses = ask_loss(self.loss, batch, self.label)
        weighted = losses.values_T * spread(weights_B[rows])
        figures: dict[str, Tensor] = {}
        if self.importance is not None:
            factors = self.importance(logprobs.old_BT[run], rollouts.rollout_logprobs_BT[run], mask)
            importance_T = factors.values_BT[mask].to(device)
            weighted = weighted * importance_T
            figures = {
                names.IMPORTANCE_MEAN.name: importance_T,
                names.IMPORTANCE_BOUNDED.name: factors.bounded_BT[mask].to(device),
            }
        weighted = weighted + self._balance(out.router_loss, spread(weights_B[rows]), figures)
        figures |= {
            "loss": weighted.detach(),
            "tokens": torch.ones_like(batch.advantages_T),
            names.ENTROPY.name: out.entropy_T.detach(),
            **{names.OF_THE_LOSS.of(name): value for name, value in losses.metrics.items()},
        }
        if version is not None:
            same_T = spread(rollouts.weights_versions_B[run] == version).bool()
            difference = Difference.between(out.logprobs_T[same_T], batch.rollout_logprobs_T[same_T])
            sums.difference = Difference.joined((sums.difference, difference))
        sums.add(figures)
        return weighted.sum()

    def _forward(self, rollouts: RolloutBatch, run: Tensor) -> Any:
        """The policy's `TokenLogprobs` of the completions `run`."""
        return self.policy(
            _plan(self.policy, rollouts, run, self.temperature), entropy=True, router_loss=self.router_coef > 0
        )

    def _balance(self, router_loss: Tensor | None, weights_T: Tensor, figures: dict[str, Tensor]) -> Tensor | float:
        """What the balance of the routers, a mean over the tokens of a pass, adds to the loss of each of them."""
        if router_loss is None:
            return 0.0
        figures[names.OF_THE_LOSS.of("router_loss")] = router_loss.detach().expand(len(weights_T))
        return self.router_coef * router_loss * weights_T


@torch.no_grad()
def completion_logprobs(
    policy: PolicyModel, experience: Experience, temperature: float, budget: int, exchange: Exchange
) -> Tensor:
    """Log-probabilities (B, T) of this rank's sampled tokens under `policy`, float32, 0 everywhere else.

    Every rank must call.
    """
    rollouts = experience.rollouts
    logprobs_BT = torch.zeros_like(rollouts.rollout_logprobs_BT)
    runs = _runs(policy, rollouts, torch.arange(len(rollouts)), budget)
    for number in range(_common_number(len(runs), exchange)):
        if number >= len(runs):
            _idle_pass(policy, experience)
            continue
        run = runs[number]
        logprobs_T = policy(_plan(policy, rollouts, run, temperature)).logprobs_T
        logprobs_BT[run] = _padded(logprobs_T, rollouts.sampled_mask_BT[run])
    return logprobs_BT


def _advantages(advantages: Advantages, rows: Tensor, mask_BT: Tensor) -> Tensor:
    """Advantage of each sampled token of the completions `rows` of the whole batch, whose mask is `mask_BT`."""
    row_T, column_T = mask_BT.nonzero(as_tuple=True)
    if advantages.values_BT is None:
        return advantages.values_B[rows[row_T]].float()
    return advantages.values_BT[rows[row_T], column_T].float()


def _padded(values_T: Tensor, mask_BT: Tensor) -> Tensor:
    """The values where the mask is True, row by row, float32 on the CPU; 0 elsewhere."""
    values_BT = torch.zeros(mask_BT.shape, dtype=torch.float32)  # whatever the default is
    values_BT[mask_BT] = values_T.detach().float().cpu()
    return values_BT


def _common_number(runs: int, exchange: Exchange) -> int:
    """How many forward passes every rank makes.

    A sharded policy gathers its weights in every pass and DDP its gradients after the last, so a rank that made fewer
    would leave the others waiting.
    """
    return max(1, *exchange.gather(runs))


def _idle_pass(policy: PolicyModel, experience: Experience) -> Tensor:
    """Log-probabilities that count for nothing, from a rank that has no completions left."""
    logprobs_T: Tensor = policy(_plan(policy, experience.spare, torch.tensor([0]), 1.0)).logprobs_T
    return logprobs_T


def _runs(policy: PolicyModel, rollouts: RolloutBatch, rows: Tensor, budget: int) -> list[Tensor]:
    """Micro-batches of these rows."""
    prompt_lengths = [len(prompt.token_ids) for prompt in rollouts.prompts]
    groups, lengths = rollouts.group_ids_B[rows].tolist(), rollouts.total_lengths_B[rows].tolist()
    runs = micro_batches(prompt_lengths, groups, lengths, budget, packed=policy.packed)
    return [rows[run] for run in runs]


def _plan(policy: PolicyModel, rollouts: RolloutBatch, rows: Tensor, temperature: float) -> TrainingPlan:
    mask = rollouts.completion_mask_BT[rows]
    longest = int(mask.sum(1).max())
    plan = policy.make_plan(
        [prompt.token_ids for prompt in rollouts.prompts],
        rollouts.group_ids_B[rows],
        rollouts.completion_ids_BT[rows, :longest],
        mask[:, :longest],
        temperature,
        rollouts.sampled_mask_BT[rows, :longest],
    )
    return plan.to(_device(policy))


def _device(policy: PolicyModel) -> torch.device:
    return next(policy.parameters()).device
