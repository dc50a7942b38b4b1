"""Forward passes over the completions of a rank, a micro-batch at a time."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from morl.policy.model import PolicyModel
from morl.policy.plan import TrainingPlan
from morl.runtime.exchange import Exchange
from morl.training.batching import micro_batches
from morl.types import RolloutBatch


@frozen(eq=False)
class FrozenLogprobs:
    """Log-probabilities of this rank's sampled tokens that no gradient flows through, each (B, T).

    Attributes:
        old_BT: under the policy at the start of the update; the denominator of the importance ratio.
        reference_BT: under the reference policy, or None where the loss does not ask for it.
        entropy_BT: entropies at the start of the update, or None where the loss does not ask for the highest.
        capture: `old_BT` is filled in on the way, by the passes before the first optimizer step: where that step learns
            from the whole batch, these are passes of the very policy, and one more would find nothing new.
    """

    old_BT: Tensor
    reference_BT: Tensor | None = None
    entropy_BT: Tensor | None = None
    capture: bool = False


@torch.no_grad()
def completion_logprobs(
    policy: PolicyModel,
    rollouts: RolloutBatch,
    spare: RolloutBatch,
    temperature: float,
    budget: int,
    exchange: Exchange,
    *,
    entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities (B, T) of this rank's sampled tokens under `policy`, float32, 0 everywhere else.

    They are those of the network that samples, without the dropout of adapters.  Every rank must call.

    Args:
        policy: whose log-probabilities.
        rollouts: of this rank.
        spare: a completion to compute with where there are none left.
        temperature: of sampling.
        budget: tokens of a micro-batch.
        exchange: the ranks.
        entropy: also return the entropies.
    """
    logprobs_BT = torch.zeros_like(rollouts.rollout_logprobs_BT)
    entropy_BT = torch.zeros_like(logprobs_BT) if entropy else None
    batches = micro_batch_rows(policy, rollouts, torch.arange(len(rollouts)), budget)
    training = policy.training
    policy.eval()
    for number in range(common_number(len(batches), exchange)):
        if number >= len(batches):
            idle_pass(policy, spare)
            continue
        rows = batches[number]
        found = policy(make_plan(policy, rollouts, rows, temperature), entropy=entropy)
        logprobs_BT[rows] = padded(found.logprobs_T, rollouts.sampled_mask_BT[rows])
        if entropy_BT is not None:
            entropy_BT[rows] = padded(found.entropy_T, rollouts.sampled_mask_BT[rows])
    policy.train(training)
    return logprobs_BT, entropy_BT


def padded(values_T: Tensor, mask_BT: Tensor) -> Tensor:
    """The values where the mask is True, row by row, float32 on the CPU; 0 elsewhere."""
    values_BT = torch.zeros(mask_BT.shape, dtype=torch.float32)  # whatever the default is
    values_BT[mask_BT] = values_T.detach().float().cpu()
    return values_BT


def common_number(passes: int, exchange: Exchange) -> int:
    """How many forward passes every rank makes.

    A sharded policy gathers its weights in every pass and DDP its gradients after the last, so a rank that made fewer
    would leave the others waiting.
    """
    return max(1, *exchange.gather(passes))


def idle_pass(policy: PolicyModel, spare: RolloutBatch) -> Tensor:
    """Log-probabilities that count for nothing, from a rank that has no completions left."""
    logprobs_T: Tensor = policy(make_plan(policy, spare, torch.tensor([0]), 1.0)).logprobs_T
    return logprobs_T


def micro_batch_rows(policy: PolicyModel, rollouts: RolloutBatch, rows: Tensor, budget: int) -> list[Tensor]:
    """Micro-batches of these rows."""
    prompt_lengths = [len(prompt.token_ids) for prompt in rollouts.prompts]
    groups, lengths = rollouts.group_ids_B[rows].tolist(), rollouts.total_lengths_B[rows].tolist()
    batches = micro_batches(prompt_lengths, groups, lengths, budget, packed=policy.packed)
    return [rows[batch] for batch in batches]


def make_plan(policy: PolicyModel, rollouts: RolloutBatch, rows: Tensor, temperature: float) -> TrainingPlan:
    """What the policy has to compute for these rows, on its device.

    Args:
        policy: computes it.
        rollouts: of this rank.
        rows: completions.
        temperature: of those whose prompts do not say their own.
    """
    mask = rollouts.completion_mask_BT[rows]
    longest = int(mask.sum(1).max())
    plan = policy.make_plan(
        [prompt.token_ids for prompt in rollouts.prompts],
        rollouts.group_ids_B[rows],
        rollouts.completion_ids_BT[rows, :longest],
        mask[:, :longest],
        temperatures(rollouts, rows, temperature),
        rollouts.sampled_mask_BT[rows, :longest],
    )
    return plan.to(device_of(policy))


def temperatures(rollouts: RolloutBatch, rows: Tensor, temperature: float) -> float | Tensor:
    """What these completions were sampled at: one for all, or one for each, float32, where prompts say their own."""
    own = [None if prompt.sampling is None else prompt.sampling.temperature for prompt in rollouts.prompts]
    if all(each is None for each in own):
        return temperature
    of_P = torch.tensor([temperature if each is None else each for each in own], dtype=torch.float32)
    return of_P[rollouts.group_ids_B[rows]]


def device_of(policy: PolicyModel) -> torch.device:
    """Where it computes."""
    return next(policy.parameters()).device
