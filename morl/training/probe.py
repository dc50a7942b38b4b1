"""Whether a rollout backend computes what the policy computes: its log-probabilities beside those of a forward pass.

On policy the update's own first pass tells it for every token.  A batch that was sampled ahead meets a policy that has
moved on, so a few of its tokens are compared, in the background, with a pass of the weights that sampled them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from attrs import frozen
from torch import Tensor

from morl.policy.model import PolicyModel
from morl.training.passes import temperatures
from morl.types import RolloutBatch

MEMBERS, TOKENS = 8, 256
"""At most so many completions of one prompt are compared, and so many tokens of each: little beside a batch."""


@frozen
class Difference:
    """Absolute differences of log-probabilities over some tokens.

    Attributes:
        total: their sum.
        tokens: how many.
        largest: of them.
    """

    total: float = 0.0
    tokens: int = 0
    largest: float = 0.0

    @classmethod
    def between(cls, first_T: Tensor, second_T: Tensor) -> Difference:
        """Those of two lists of log-probabilities."""
        if not len(first_T):
            return cls()
        apart_T = (first_T.detach().float() - second_T.detach().float()).abs()
        return cls(float(apart_T.sum()), len(apart_T), float(apart_T.max()))

    @classmethod
    def joined(cls, parts: Iterable[Difference]) -> Difference:
        """Over the tokens of all of them."""
        every = list(parts)
        largest = max((part.largest for part in every), default=0.0)
        return cls(sum(part.total for part in every), sum(part.tokens for part in every), largest)

    @property
    def mean(self) -> float:
        return self.total / max(self.tokens, 1)


@torch.no_grad()
def probe(policy: PolicyModel, rollouts: RolloutBatch, version: int, temperature: float) -> Difference:
    """Compares the start of some completions that weights `version` drew, which are those of `policy`.

    The prompt is the longest, where keys and values that an engine kept from older weights would show best.
    """
    rows = (rollouts.weights_versions_B == version).nonzero()[:, 0]
    if not len(rows):
        return Difference()
    lengths_P = torch.tensor([len(prompt.token_ids) for prompt in rollouts.prompts])
    longest = rollouts.group_ids_B[rows[lengths_P[rollouts.group_ids_B[rows]].argmax()]]
    rows = rows[rollouts.group_ids_B[rows] == longest][:MEMBERS]
    sampled = rollouts.sampled_mask_BT[rows, :TOKENS]
    plan = policy.make_plan(
        [prompt.token_ids for prompt in rollouts.prompts],
        rollouts.group_ids_B[rows],
        rollouts.completion_ids_BT[rows, :TOKENS],
        rollouts.completion_mask_BT[rows, :TOKENS],
        temperatures(rollouts, rows, temperature),
        sampled,
    )
    logprobs_T = policy(plan.to(next(policy.parameters()).device)).logprobs_T
    return Difference.between(logprobs_T.cpu(), rollouts.rollout_logprobs_BT[rows, :TOKENS][sampled])
