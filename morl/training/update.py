"""loss -> gradient: one mini-batch of a rollout batch, cut into micro-batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeAlias

import torch
from attrs import define, field, frozen
from torch import Tensor
from torch.distributed.tensor import DTensor

from morl.artifacts import metrics as names
from morl.config.schema import Config
from morl.hookspecs import PolicyLoss
from morl.loss import ImportanceWeights, importance_weights
from morl.policy.logprobs import TokenLogprobs
from morl.policy.model import PolicyModel
from morl.runtime.exchange import Exchange
from morl.runtime.parts import Parts, correction_of
from morl.training.collect import Experience
from morl.training.losses import ask_loss, ask_weights, share_of, top_entropy
from morl.training.passes import (
    FrozenLogprobs,
    common_number,
    idle_pass,
    make_plan,
    micro_batch_rows,
    padded,
)
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
class MiniBatch:
    """What one optimizer step learns from.

    Attributes:
        weights_B: weight of the tokens of every completion of the whole batch, 0 outside the mini-batch.
        entropy_weight: of each token's entropy, which is subtracted from the loss.
        top_entropy_BT: this rank's tokens of highest entropy; None = all.
    """

    weights_B: Tensor
    entropy_weight: float = 0.0
    top_entropy_BT: Tensor | None = None


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
        entropy_coef: of the mean entropy of the tokens, which is subtracted from the loss.
        mask_truncated: leave truncated completions out.
        clipped_BT: this rank's tokens of the last batch that the loss clipped or bounded in some pass.
    """

    policy: PolicyModel
    loss: PolicyLoss
    temperature: float
    max_tokens: int
    importance: Importance | None = None
    budget: int = 2048
    label: str = ""
    router_coef: float = 0.0
    entropy_coef: float = 0.0
    mask_truncated: bool = False
    clipped_BT: Tensor | None = field(default=None, init=False)

    @classmethod
    def of(cls, config: Config, parts: Parts, policy: PolicyModel) -> Updater:
        """As the config says; the size of micro-batches follows from the device."""
        return cls(
            policy,
            parts.loss,
            config.sampling.temperature,
            config.sampling.max_tokens,
            _importance(config, parts),
            label=parts.label("loss"),
            router_coef=config.policy.router_loss_coef,
            mask_truncated=bool(config.training.mask_truncated),
        )

    def weights(self, experience: Experience, groups: Tensor) -> Tensor:
        """Weight of the tokens of every completion of the whole batch, 0 outside the mini-batch `groups`."""
        scores = experience.scores
        ids = torch.unique(scores.positions_B)[groups]
        used = torch.isin(scores.positions_B, ids) & ~scores.dropped_B
        if self.mask_truncated:
            used &= ~scores.truncated_B
        weights = torch.zeros(len(used), dtype=torch.float64)
        weights[used] = ask_weights(self.loss, scores.lengths_B[used], self.max_tokens, self.label)
        return weights

    def mini_batch(
        self, experience: Experience, groups: Tensor, logprobs: FrozenLogprobs, exchange: Exchange
    ) -> MiniBatch:
        """What is learned from these groups.  Every rank must call."""
        weights_B = self.weights(experience, groups)
        learned_B = weights_B != 0
        tokens, top_BT = int(experience.scores.lengths_B[learned_B].sum()), None
        if logprobs.entropy_BT is not None:
            mask_BT = experience.rollouts.sampled_mask_BT & learned_B[experience.local_rows, None]
            top_BT, tokens = top_entropy(logprobs.entropy_BT, mask_BT, share_of(self.loss), exchange)
        return MiniBatch(weights_B, self.entropy_coef / max(tokens, 1), top_BT)

    def backward(
        self,
        experience: Experience,
        batch: MiniBatch,
        logprobs: FrozenLogprobs,
        exchange: Exchange,
        sync: Callable[[bool], AbstractContextManager[object]],
        manual_backward: Callable[[Tensor], None],
        sums: TokenSums,
        version: int | None,
    ) -> None:
        """Accumulates the gradient of one mini-batch.

        Args:
            batch: as `mini_batch` gives it.
            logprobs: what the policy's are compared with.
            exchange: the ranks; the strategy averages their gradients.
            sync: context in which a backward pass exchanges gradients (True) or only accumulates them (False).
            manual_backward: Lightning's.
            sums: receives the loss and the per-token metrics.
            version: of the weights; None once this update has made an optimizer step.
        """
        if version is not None:
            self.clipped_BT = torch.zeros_like(experience.rollouts.sampled_mask_BT)
        learned_B = (batch.weights_B[experience.local_rows] != 0) & (experience.rollouts.lengths_B > 0)
        rows = learned_B.nonzero()[:, 0]
        runs = micro_batch_rows(self.policy, experience.rollouts, rows, self.budget)
        passes = common_number(len(runs), exchange)
        for number in range(passes):
            with sync(number + 1 == passes):
                if number < len(runs):
                    loss = self._loss(experience, runs[number], batch, logprobs, sums, version)
                else:
                    loss = idle_pass(self.policy, experience.spare).sum() * 0.0
                manual_backward(loss * exchange.size)

    def _loss(
        self,
        experience: Experience,
        run: Tensor,
        batch: MiniBatch,
        logprobs: FrozenLogprobs,
        sums: TokenSums,
        version: int | None,
    ) -> Tensor:
        """What the completions `run` of this rank add to the loss of the mini-batch."""
        rollouts, rows = experience.rollouts, experience.local_rows[run]
        mask = rollouts.sampled_mask_BT[run]
        out = self._forward(rollouts, run)
        if logprobs.capture and version is not None:
            logprobs.old_BT[run] = padded(out.logprobs_T, mask)
        tokens = _token_batch(experience, run, batch, logprobs, out)
        device = out.logprobs_T.device

        def spread(values_B: Tensor) -> Tensor:
            return values_B.float().repeat_interleave(mask.sum(1)).to(device)

        losses, weights_T = ask_loss(self.loss, tokens, self.label), spread(batch.weights_B[rows])
        weighted = losses.values_T * weights_T
        figures: dict[str, Tensor] = {}
        if self.importance is not None:
            factors = self.importance(logprobs.old_BT[run], rollouts.rollout_logprobs_BT[run], mask)
            importance_T = factors.values_BT[mask].to(device)
            weighted = weighted * importance_T
            figures = {
                names.IMPORTANCE_MEAN.name: importance_T,
                names.IMPORTANCE_BOUNDED.name: factors.bounded_BT[mask].to(device),
            }
        weighted = weighted + self._balance(out.router_loss, weights_T, figures)
        if batch.entropy_weight:
            bonus = out.entropy_T if tokens.top_entropy_T is None else out.entropy_T * tokens.top_entropy_T
            weighted = weighted - batch.entropy_weight * bonus
        figures |= {
            "loss": weighted.detach(),
            "tokens": torch.ones_like(tokens.advantages_T),
            names.ENTROPY.name: out.entropy_T.detach(),
            **{names.OF_THE_LOSS.of(name): value for name, value in losses.metrics.items()},
        }
        if version is not None:
            same_T = spread(rollouts.weights_versions_B[run] == version).bool()
            difference = Difference.between(out.logprobs_T[same_T], tokens.rollout_logprobs_T[same_T])
            sums.difference = Difference.joined((sums.difference, difference))
        if self.clipped_BT is not None and "clip_fraction" in losses.metrics:
            self.clipped_BT[run] |= padded(losses.metrics["clip_fraction"], mask) > 0
        sums.add(figures)
        return weighted.sum()

    def _forward(self, rollouts: RolloutBatch, run: Tensor) -> Any:
        """The policy's `TokenLogprobs` of the completions `run`."""
        return self.policy(
            make_plan(self.policy, rollouts, run, self.temperature), entropy=True, router_loss=self.router_coef > 0
        )

    def _balance(self, router_loss: Tensor | None, weights_T: Tensor, figures: dict[str, Tensor]) -> Tensor | float:
        """What the balance of the routers, a mean over the tokens of a pass, adds to the loss of each of them."""
        if router_loss is None:
            return 0.0
        figures[names.OF_THE_LOSS.of("router_loss")] = router_loss.detach().expand(len(weights_T))
        return self.router_coef * router_loss * weights_T


def _token_batch(
    experience: Experience, run: Tensor, batch: MiniBatch, logprobs: FrozenLogprobs, out: TokenLogprobs
) -> TokenBatch:
    """What the loss is shown of the completions `run` of this rank, on the policy's device."""
    rollouts, rows, device = experience.rollouts, experience.local_rows[run], out.logprobs_T.device
    mask, statuses = rollouts.sampled_mask_BT[run], rollouts.statuses
    lengths = mask.sum(1)

    def flat(values_BT: Tensor) -> Tensor:
        return values_BT[run][mask].to(device)

    return TokenBatch(
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
        top_entropy_T=None if batch.top_entropy_BT is None else flat(batch.top_entropy_BT),
    )


def _advantages(advantages: Advantages, rows: Tensor, mask_BT: Tensor) -> Tensor:
    """Advantage of each sampled token of the completions `rows` of the whole batch, whose mask is `mask_BT`."""
    row_T, column_T = mask_BT.nonzero(as_tuple=True)
    if advantages.values_BT is None:
        return advantages.values_B[rows[row_T]].float()
    return advantages.values_BT[rows[row_T], column_T].float()


def clip_gradients(policy: PolicyModel, max_norm: float) -> float:
    """Scales gradients down to this norm, 0 = any, unless it is not finite; returns the norm they had."""
    parameters = [parameter for parameter in policy.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    size = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    if math.isfinite(size):
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm or math.inf, norm)
    return size


def _importance(config: Config, parts: Parts) -> Importance | None:
    """The factors on token losses, where the rollout policy may be another than the one that the update starts from."""
    options, correction = config.importance, correction_of(config, parts.backend)
    if correction is None or getattr(parts.loss, "corrects_importance", False):
        return None
    return partial(importance_weights, correction=correction, level=options.level, low=options.low, high=options.high)
