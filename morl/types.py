"""The data that travels from room to room, in the order of the journey.

    prompts -> rollout -> reward -> advantage -> loss -> optimizer step -> weight sync

Axes, used as suffixes of tensor names:

    P  prompts of a batch              B  completions of a batch, B = P * G
    G  completions of one prompt       K  rewards
    T  positions of a right-padded completion, or, in a flat batch of tokens, all its completion tokens

Importing this module needs torch and attrs, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from attrs import evolve, field, frozen, validators
from torch import Tensor

from morl.errors import ConfigError, RewardError, suggest

Message: TypeAlias = Mapping[str, Any]
"""One chat message, `{"role": ..., "content": ...}`."""


@frozen(eq=False)
class Prompt:
    """One row of a prompt source.

    Attributes:
        content: plain text, or the chat messages that the tokenizer's chat template renders.
        columns: everything else the row holds; reward providers read their references from here.
    """

    content: str | Sequence[Message]
    columns: Mapping[str, Any] = field(factory=dict)


@frozen(eq=False)
class EncodedPrompt:
    """A prompt as the policy reads it.

    Attributes:
        prompt: where it came from.
        text: what the tokenizer was given.
        token_ids: at least one token.
        index: row of the prompt in its source.
    """

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...]
    index: int = 0


@frozen
class Sampling:
    """How completions are drawn.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: smallest set of tokens whose probability reaches this; 1 keeps all.
        top_k: this many likeliest tokens; 0 keeps all.
        max_tokens: a completion that reaches this length without ending is truncated.
        stop: texts that end a completion; the text that matched stays in it.
    """

    temperature: float = field(default=1.0, validator=validators.ge(0.0))
    top_p: float = field(default=1.0, validator=[validators.gt(0.0), validators.le(1.0)])
    top_k: int = field(default=0, validator=validators.ge(0))
    max_tokens: int = field(default=256, validator=validators.ge(1))
    stop: tuple[str, ...] = field(default=(), converter=tuple)


@frozen(eq=False)
class Completion:
    """One sampled completion, as a reward provider sees it.

    Attributes:
        prompt: the prompt with its columns.
        text: decoded without special tokens; may be empty.
        token_ids: as sampled, the end-of-sequence token included where one was drawn.
        truncated: ended by the token limit and not by itself.
    """

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...]
    truncated: bool = False

    @property
    def length(self) -> int:
        """Number of sampled tokens."""
        return len(self.token_ids)


@frozen(eq=False)
class RolloutBatch:
    """Completions of one generation call, the G completions of a prompt side by side.  All tensors are on the CPU.

    Attributes:
        prompts: P prompts.
        group_ids_B: row of each completion's prompt in `prompts`, int64.
        completion_ids_BT: sampled tokens, right-padded with 0, int64.
        completion_mask_BT: True at sampled tokens.
        rollout_logprobs_BT: log-probability of each sampled token under softmax(logits / temperature), before top-p
            and top-k cut the distribution (temperature 0: under temperature 1); float32, 0 at padding.
        truncated_B: ended by the token limit.
        texts: B decoded completions, without special tokens.
        weights_versions_B: version, as `sync_weights` was told it, of the weights that drew each completion; int64.
    """

    prompts: tuple[EncodedPrompt, ...]
    group_ids_B: Tensor
    completion_ids_BT: Tensor
    completion_mask_BT: Tensor
    rollout_logprobs_BT: Tensor
    truncated_B: Tensor
    texts: tuple[str, ...]
    weights_versions_B: Tensor

    def __attrs_post_init__(self) -> None:
        B, T = self.completion_ids_BT.shape
        assert self.completion_mask_BT.shape == self.rollout_logprobs_BT.shape == (B, T)
        assert self.group_ids_B.shape == self.truncated_B.shape == self.weights_versions_B.shape == (B,)
        assert len(self.texts) == B

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths_B(self) -> Tensor:
        """Number of sampled tokens of each completion, int64."""
        return self.completion_mask_BT.sum(1)

    def completions(self) -> list[Completion]:
        """The rows as reward providers see them."""
        columns = (self.completion_ids_BT, self.lengths_B, self.group_ids_B, self.truncated_B)
        return [
            Completion(self.prompts[group].prompt, text, tuple(ids[:length]), truncated)
            for ids, length, group, truncated, text in zip(*(c.tolist() for c in columns), self.texts, strict=True)
        ]

    def select(self, rows: Sequence[int]) -> RolloutBatch:
        """These completions only, in this order; `prompts` stays whole."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        longest = int(self.lengths_B[index].max()) if len(index) else 0
        return evolve(
            self,
            group_ids_B=self.group_ids_B[index],
            completion_ids_BT=self.completion_ids_BT[index, :longest],
            completion_mask_BT=self.completion_mask_BT[index, :longest],
            rollout_logprobs_BT=self.rollout_logprobs_BT[index, :longest],
            truncated_B=self.truncated_B[index],
            texts=tuple(self.texts[row] for row in index.tolist()),
            weights_versions_B=self.weights_versions_B[index],
        )

    @staticmethod
    def concatenate(batches: Sequence[RolloutBatch]) -> RolloutBatch:
        """One batch of all rows; prompts are appended and group ids shifted accordingly."""
        longest = max(batch.completion_ids_BT.shape[1] for batch in batches)
        offsets = [0]
        for batch in batches:
            offsets.append(offsets[-1] + len(batch.prompts))

        def padded(name: str) -> Tensor:
            parts = [getattr(batch, name) for batch in batches]
            return torch.cat([torch.nn.functional.pad(part, (0, longest - part.shape[1])) for part in parts])

        return RolloutBatch(
            prompts=tuple(prompt for batch in batches for prompt in batch.prompts),
            group_ids_B=torch.cat([b.group_ids_B + offset for b, offset in zip(batches, offsets, strict=False)]),
            completion_ids_BT=padded("completion_ids_BT"),
            completion_mask_BT=padded("completion_mask_BT"),
            rollout_logprobs_BT=padded("rollout_logprobs_BT"),
            truncated_B=torch.cat([batch.truncated_B for batch in batches]),
            texts=tuple(text for batch in batches for text in batch.texts),
            weights_versions_B=torch.cat([batch.weights_versions_B for batch in batches]),
        )


@frozen(eq=False)
class RewardScores:
    """What the reward room hands on for the completions of one rank.

    Attributes:
        names: K reward names.
        values_BK: scores, float64; NaN where the reward did not apply or failed.
        failed_BK: True where the provider raised, timed out or never answered, whatever the failure policy then did.
        dropped_B: completions that a failure under the policy `drop` takes out of the update.
        seconds: that the call of each provider took, by the name of its config entry.
    """

    names: tuple[str, ...]
    values_BK: Tensor
    failed_BK: Tensor
    dropped_B: Tensor
    seconds: Mapping[str, float] = field(factory=dict)


@frozen(eq=False)
class RewardMatrix:
    """The rewards of one whole rollout batch: every prompt, every rank.

    Attributes:
        values_BK: rewards, any floating dtype; NaN = missing.
        group_ids_B: which prompt each completion answers; any integers, any order, groups of any size.
        names: K distinct names.
        weights: weight by reward name; 1 where a name is absent.
        valid_BK: False = missing, whatever stands in `values_BK`; default: not NaN.
        lengths_B: completion lengths in tokens, for estimators that want them.

    Raises:
        ValueError: shapes that do not fit together.
        RewardError: an infinite reward, by name.
        ConfigError: a weight for a name that is not among `names`, or one that is not finite.
    """

    values_BK: Tensor
    group_ids_B: Tensor
    names: tuple[str, ...]
    weights: Mapping[str, float] = field(factory=dict)
    valid_BK: Tensor = field(kw_only=True)
    lengths_B: Tensor | None = field(default=None, kw_only=True)

    @valid_BK.default
    def _not_nan(self) -> Tensor:
        return ~torch.isnan(self.values_BK)

    def __attrs_post_init__(self) -> None:
        values, groups, valid, names = self.values_BK, self.group_ids_B, self.valid_BK, self.names
        if values.ndim != 2 or values.shape[1] == 0 or not values.is_floating_point():
            raise ValueError(f"rewards must be a float tensor (B, K), K >= 1; got {tuple(values.shape)} {values.dtype}")
        B, K = values.shape
        if groups.shape != (B,) or groups.is_floating_point():
            raise ValueError(f"group_ids must be {B} integers; got {tuple(groups.shape)} {groups.dtype}")
        if valid.shape != (B, K) or valid.dtype != torch.bool:
            raise ValueError(f"valid must be a bool tensor ({B}, {K}); got {tuple(valid.shape)} {valid.dtype}")
        if self.lengths_B is not None and self.lengths_B.shape != (B,):
            raise ValueError(f"lengths must be {B} integers; got {tuple(self.lengths_B.shape)}")
        if len(names) != K or len(set(names)) != K:
            raise ValueError(f"expected {K} distinct reward names, one per column; got {list(names)}")
        for name, weight in self.weights.items():
            if name not in names:
                raise ConfigError(
                    f"weight for unknown reward {name!r}{suggest(name, names)}; rewards: {', '.join(names)}"
                )
            if not math.isfinite(weight):
                raise ConfigError(f"the weight of reward {name!r} must be finite; got {weight}")
        infinite = torch.isinf(values) & valid
        if infinite.any():
            row, column = infinite.nonzero()[0].tolist()
            raise RewardError(
                f"reward {names[column]!r} of completion {row} is {values[row, column].item()}; rewards must be finite"
                " (NaN or None marks one that does not apply)"
            )
        # A NaN that the caller's mask calls valid is missing all the same.
        object.__setattr__(self, "valid_BK", valid & ~torch.isnan(values))

    @classmethod
    def from_groups(
        cls,
        values_PGK: Tensor,
        names: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        valid_PGK: Tensor | None = None,
    ) -> RewardMatrix:
        """Rewards of P groups of equal size G, (P, G, K); names default to r0, r1, ..."""
        if values_PGK.ndim != 3:
            raise ValueError(f"rewards must be (P, G, K); got {tuple(values_PGK.shape)}")
        P, G, K = values_PGK.shape
        values = values_PGK.reshape(P * G, K)
        valid = ~torch.isnan(values) if valid_PGK is None else valid_PGK.reshape(P * G, K)
        group_ids = torch.arange(P, device=values.device).repeat_interleave(G)
        names = tuple(names) if names else tuple(f"r{k}" for k in range(K))
        return cls(values, group_ids, names, dict(weights or {}), valid_BK=valid)

    @property
    def weights_K(self) -> Tensor:
        """Weights in the order of `names`, float64."""
        weights = [float(self.weights.get(name, 1.0)) for name in self.names]
        return torch.tensor(weights, dtype=torch.float64, device=self.values_BK.device)


@frozen(eq=False)
class Advantages:
    """An estimator's answer, with what explains it.

    Attributes:
        values_B: one advantage per completion, in the dtype of the rewards.
        contributions_BK: the part of each advantage that each reward supplies; the rows sum to `values_B`.
    """

    values_B: Tensor
    contributions_BK: Tensor


@frozen(eq=False)
class TokenBatch:
    """What a policy loss sees: the completion tokens of one micro-batch on one flat axis T.

    Attributes:
        policy_logprobs_T: log-probabilities under the policy being updated; carries the gradient.
        old_logprobs_T: under the policy at the start of the update; the importance ratio's denominator.
        rollout_logprobs_T: as captured while sampling, by the weights of the rollout.
        advantages_T: each token bears its completion's advantage.
        rows_T: completion that each token belongs to, int64, counted within this micro-batch.
        ref_logprobs_T: under the reference policy; None where the loss did not ask for one.
    """

    policy_logprobs_T: Tensor
    old_logprobs_T: Tensor
    rollout_logprobs_T: Tensor
    advantages_T: Tensor
    rows_T: Tensor
    ref_logprobs_T: Tensor | None = None


@frozen(eq=False)
class TokenLosses:
    """A policy loss's answer, token by token.

    Attributes:
        values_T: loss of each token; morl weights and sums them as the loss's `aggregation` says.
        metrics: detached per-token figures to log as means over tokens, e.g. `{"clip_fraction": (T,)}`.
    """

    values_T: Tensor
    metrics: Mapping[str, Tensor] = field(factory=dict)


Aggregation: TypeAlias = Literal["token-mean", "sequence-mean", "dr-grpo"]
