"""loss -> gradient: one mini-batch of a rollout batch, cut into micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from attrs import define, field
from torch import Tensor

from morl.hookspecs import PolicyLoss
from morl.loss import token_weights
from morl.policy.model import PolicyModel
from morl.training.batching import micro_batches
from morl.training.collect import Experience
from morl.types import RolloutBatch, TokenBatch


@define
class TokenSums:
    """Sums over the tokens of an update, to be turned into means over all ranks' tokens at the end."""

    sums: dict[str, float] = field(factory=dict)

    def add(self, name: str, value: float) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value

    def add_tokens(self, values: dict[str, Tensor]) -> None:
        """Sums of per-token figures, read from the device in one go."""
        names = list(values)
        totals = torch.stack([values[name].double().sum() for name in names]).tolist()
        for name, total in zip(names, totals, strict=True):
            self.add(name, total)


@define(eq=False)
class Updater:
    """Turns an experience into gradients of the policy.

    Args:
        policy: being trained.
        loss: of each token.
        temperature: of sampling; log-probabilities are those of softmax(logits / temperature).
        max_tokens: of sampling; the divisor of `dr-grpo`.
        budget: tokens of a micro-batch.
    """

    policy: PolicyModel
    loss: PolicyLoss
    temperature: float
    max_tokens: int
    budget: int

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
        old_logprobs_BT: Tensor,
        ref_logprobs_BT: Tensor | None,
        scale: float,
        sync: Callable[[bool], AbstractContextManager[object]],
        manual_backward: Callable[[Tensor], None],
        sums: TokenSums,
        on_policy: bool,
    ) -> None:
        """Accumulates the gradient of one mini-batch.

        Args:
            weights_B: as `weights` gives them.
            old_logprobs_BT: denominator of the importance ratio, for this rank's completions.
            ref_logprobs_BT: under the reference policy, or None.
            scale: factor on the loss; the world size where the strategy averages gradients over ranks.
            sync: context in which a backward pass exchanges gradients (True) or only accumulates them (False).
            manual_backward: Lightning's.
            sums: receives the loss and the per-token metrics.
            on_policy: no optimizer step since the rollout, so that its log-probabilities can be compared.
        """
        rollouts, device = experience.rollouts, next(self.policy.parameters()).device
        local = weights_B[experience.local_rows]
        advantages = experience.advantages.values_B[experience.local_rows]
        # A rank without completions in this mini-batch still takes part in the exchange, with a loss of 0.
        rows = local.nonzero()[:, 0] if bool((local > 0).any()) else torch.tensor([0])
        runs = list(_runs(rollouts, rows, self.budget))
        for number, run in enumerate(runs):
            mask = rollouts.completion_mask_BT[run]
            lengths = mask.sum(1)
            rows_T = torch.arange(len(run)).repeat_interleave(lengths)

            def flat(values_BT: Tensor, run: Tensor = run, mask: Tensor = mask) -> Tensor:
                return values_BT[run][mask].to(device)

            plan = _plan(self.policy, rollouts, run, self.temperature).to(device)
            with sync(number + 1 == len(runs)):
                out = self.policy(plan, entropy=True)
                batch = TokenBatch(
                    policy_logprobs_T=out.logprobs_T,
                    old_logprobs_T=flat(old_logprobs_BT),
                    rollout_logprobs_T=flat(rollouts.rollout_logprobs_BT),
                    advantages_T=advantages[run].float().repeat_interleave(lengths).to(device),
                    rows_T=rows_T.to(device),
                    ref_logprobs_T=None if ref_logprobs_BT is None else flat(ref_logprobs_BT),
                )
                losses = self.loss(batch)
                weights = local[run].float().repeat_interleave(lengths).to(device)
                loss = (losses.values_T * weights).sum()
                manual_backward(loss * scale)
            counted = (weights > 0).float()
            if on_policy:
                difference = (out.logprobs_T.detach() - batch.rollout_logprobs_T).abs() * counted
                sums.add_tokens({"on_policy_tokens": counted, "on_policy_difference": difference})
            sums.add_tokens(
                {
                    "loss": losses.values_T.detach() * weights,
                    "tokens": counted,
                    "policy/entropy": out.entropy_T * counted,
                    **{f"policy/{name}": value * counted for name, value in losses.metrics.items()},
                }
            )


@torch.no_grad()
def completion_logprobs(policy: PolicyModel, rollouts: RolloutBatch, temperature: float, budget: int) -> Tensor:
    """Log-probabilities (B, T) of all completion tokens under `policy`, float32, 0 at padding."""
    device = next(policy.parameters()).device
    logprobs_BT = torch.zeros_like(rollouts.rollout_logprobs_BT)
    for run in _runs(rollouts, torch.arange(len(rollouts)), budget):
        mask = torch.zeros_like(rollouts.completion_mask_BT)
        mask[run] = rollouts.completion_mask_BT[run]
        logprobs_BT[mask] = policy(_plan(policy, rollouts, run, temperature).to(device)).logprobs_T.cpu()
    return logprobs_BT


def _runs(rollouts: RolloutBatch, rows: Tensor, budget: int) -> Iterator[Tensor]:
    prompt_lengths = [len(prompt.token_ids) for prompt in rollouts.prompts]
    groups, lengths = rollouts.group_ids_B[rows].tolist(), rollouts.lengths_B[rows].tolist()
    for run in micro_batches(prompt_lengths, groups, lengths, budget):
        yield rows[run]


def _plan(policy: PolicyModel, rollouts: RolloutBatch, rows: Tensor, temperature: float):  # type: ignore[no-untyped-def]
    mask = rollouts.completion_mask_BT[rows]
    longest = int(mask.sum(1).max())
    return policy.make_plan(
        [prompt.token_ids for prompt in rollouts.prompts],
        rollouts.group_ids_B[rows],
        rollouts.completion_ids_BT[rows, :longest],
        mask[:, :longest],
        temperature,
    )
