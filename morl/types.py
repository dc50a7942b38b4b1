"""The data that packages exchange, in the order of the data flow.

    prompts -> rollout -> reward -> advantage -> loss -> optimizer step -> weight sync

Axes, used as suffixes of tensor names:

    P  prompts of a batch              B  completions of a batch, B = P * G
    G  completions of one prompt       K  rewards
    T  positions of a right-padded completion, or, in a flat batch of tokens, all its sampled tokens

Importing this module needs torch and attrs, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from morl.completions import Completion as Completion
from morl.completions import CompletionStatus as CompletionStatus
from morl.completions import EnvironmentAnswer as EnvironmentAnswer
from morl.completions import Message as Message
from morl.completions import Prompt as Prompt
from morl.completions import Spans as Spans
from morl.completions import Turn as Turn
from morl.errors import ConfigError, RewardError, suggest
from morl.rollouts import EncodedPrompt as EncodedPrompt
from morl.rollouts import RolloutBatch as RolloutBatch
from morl.sampling import Sampling as Sampling


@frozen(eq=False)
class RewardScores:
    """What `morl.reward` hands on for the completions of one rank.

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


TurnRewards: TypeAlias = tuple[Mapping[str, float], ...]
"""Rewards of the turns of one completion, each by name; a name that is absent was not given for the turn."""


@frozen(eq=False)
class RewardMatrix:
    """The rewards of one whole rollout batch: every prompt, every rank.

    Attributes:
        values_BK: rewards, any floating dtype; NaN = missing.
        group_ids_B: which prompt each completion answers; any integers, any order, groups of any size.
        names: K distinct names.
        weights: weight by reward name; 1 where a name is absent.
        valid_BK: False = missing, whatever stands in `values_BK`; default: not NaN.
        lengths_B: sampled tokens of each completion, for estimators that want them.
        spans: where the turns of each completion lie on the token axis, for estimators that give an advantage to every
            token or turn: `(start, end)` of each turn, in columns of `Advantages.values_BT`.
        turn_rewards: what was given for single turns, by reward name, of each turn of each completion, beside `spans`;
            a reward that no turn was given is one of whole completions.  `values_BK` has their sum.
        bounds: (floor, ceiling) by reward name, as the config or the provider declares them; a name that is absent has
            none.
        step: finished rollout batches of the run, for what changes over steps.

    Raises:
        ValueError: shapes that do not fit together, a negative step.
        RewardError: an infinite reward, by name.
        ConfigError: a weight or bounds for a name that is not among `names`, a weight that is not finite, bounds that
            are not two finite numbers, the lower first.
    """

    values_BK: Tensor
    group_ids_B: Tensor
    names: tuple[str, ...]
    weights: Mapping[str, float] = field(factory=dict)
    valid_BK: Tensor = field(kw_only=True)
    lengths_B: Tensor | None = field(default=None, kw_only=True)
    spans: tuple[Spans, ...] | None = field(default=None, kw_only=True)
    turn_rewards: tuple[TurnRewards, ...] | None = field(default=None, kw_only=True)
    bounds: Mapping[str, tuple[float, float]] = field(factory=dict, kw_only=True)
    step: int = field(default=0, kw_only=True)

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
        if self.spans is not None and len(self.spans) != B:
            raise ValueError(f"spans must have one entry for each of {B} completions; got {len(self.spans)}")
        if self.turn_rewards is not None:
            turns = None if self.spans is None else [len(spans) for spans in self.spans]
            if turns != [len(rewards) for rewards in self.turn_rewards]:
                raise ValueError(
                    "turn_rewards must have an entry for each turn that spans has, completion by completion"
                )
        if len(names) != K or len(set(names)) != K:
            raise ValueError(f"expected {K} distinct reward names, one per column; got {list(names)}")
        for what, by_name in (("weight", self.weights), ("bounds", self.bounds)):
            for name in by_name:
                if name not in names:
                    raise ConfigError(
                        f"{what} for unknown reward {name!r}{suggest(name, names)}; rewards: {', '.join(names)}"
                    )
        for name, pair in self.bounds.items():
            check_bounds(f"the bounds of reward {name!r}", pair)
        if self.step < 0:
            raise ValueError(f"step counts finished rollout batches; got {self.step}")
        for name, weight in self.weights.items():
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

    def take(self, rows: Tensor) -> RewardMatrix:
        """These completions, in this order.

        Args:
            rows: their indices, int64.
        """
        chosen = rows.tolist() if self.spans is not None or self.turn_rewards is not None else []
        return evolve(
            self,
            values_BK=self.values_BK.index_select(0, rows),
            group_ids_B=self.group_ids_B.index_select(0, rows),
            valid_BK=self.valid_BK.index_select(0, rows),
            lengths_B=None if self.lengths_B is None else self.lengths_B.index_select(0, rows),
            spans=None if self.spans is None else tuple(self.spans[row] for row in chosen),
            turn_rewards=None if self.turn_rewards is None else tuple(self.turn_rewards[row] for row in chosen),
        )

    @property
    def weights_K(self) -> Tensor:
        """Weights in the order of `names`, float64."""
        weights = [float(self.weights.get(name, 1.0)) for name in self.names]
        return torch.tensor(weights, dtype=torch.float64, device=self.values_BK.device)

    @property
    def sampled_mask_BT(self) -> Tensor:
        """True at the sampled tokens of the whole batch: the shape of `Advantages.values_BT`, and where it counts.

        >>> spans = (((0, 1), (3, 4)), ((0, 2),))
        >>> matrix = RewardMatrix(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64), ("r",), spans=spans)
        >>> matrix.sampled_mask_BT.int().tolist()
        [[1, 0, 0, 1], [1, 1, 0, 0]]
        """
        if self.spans is None:
            raise ValueError("this matrix does not say where the tokens of its completions lie: give it `spans`")
        edges = [(row, *span) for row, spans in enumerate(self.spans) for span in spans]
        row_S, start_S, end_S = torch.tensor(edges, dtype=torch.int64).reshape(-1, 3).T
        longest = int(end_S.max()) if edges else 0
        # Turns do not overlap, so that their edges, +1 and -1, add up to 1 inside of one and to 0 outside.
        inside_BT = torch.zeros(len(self.spans), longest + 1, dtype=torch.int8)
        ones_S = torch.ones(len(edges), dtype=torch.int8)
        inside_BT.index_put_((row_S, start_S), ones_S, accumulate=True)
        inside_BT.index_put_((row_S, end_S), -ones_S, accumulate=True)
        mask_BT = inside_BT.cumsum(1, dtype=torch.int8)[:, :longest].bool()
        return mask_BT.to(self.values_BK.device)

    @property
    def bounds_K2(self) -> Tensor:
        """Floor and ceiling of each reward in the order of `names`, float64; NaN where none are declared."""
        pairs = [self.bounds.get(name, (math.nan, math.nan)) for name in self.names]
        return torch.tensor(pairs, dtype=torch.float64, device=self.values_BK.device)


def check_bounds(what: str, bounds: object) -> tuple[float, float]:
    """Floor and ceiling as numbers.

    Raises:
        ConfigError: anything but two finite numbers, the lower first; the message begins with `what`.
    """
    numbers = tuple(bounds) if isinstance(bounds, Sequence) and not isinstance(bounds, str) else ()
    usable = [n for n in numbers if isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n)]
    if not len(numbers) == len(usable) == 2 or not usable[0] < usable[1]:
        raise ConfigError(f"{what} must be [low, high], two finite numbers with low < high; got {bounds!r}")
    return float(usable[0]), float(usable[1])


Weights: TypeAlias = Callable[[RewardMatrix], Tensor]
"""A weighting as estimators call it; the protocol `morl.hookspecs.Weighting` says what else one may have."""


@frozen(eq=False)
class Advantages:
    """An estimator's answer, with what explains it.

    Attributes:
        values_B: one advantage per completion, in the dtype of the rewards; each of its sampled tokens bears it.
        contributions_BK: the part of each advantage that each reward supplies; the rows sum to `values_B`.
        values_BT: advantages token by token, for methods that tell the turns or tokens of a completion apart; where
            given, tokens bear these, and `values_B` is what metrics and samples show of them.  The shape is that of
            `RewardMatrix.sampled_mask_BT`: column t is column t of `RolloutBatch.completion_ids_BT`, and what stands
            where no token was sampled is not looked at.
    """

    values_B: Tensor
    contributions_BK: Tensor
    values_BT: Tensor | None = None


@frozen(eq=False)
class TokenBatch:
    """What a policy loss sees: the sampled tokens of one micro-batch on one flat axis T, completion by completion.

    A micro-batch holds whole completions, all turns of each: their tokens never end up in different calls of the loss.
    So a loss may take sums and means over a completion, and is given the same ones whatever the size of micro-batches
    and the number of ranks.  It must not take them over the micro-batch: which completions share one says nothing.

    Tokens of an environment are not here; the policy read them, so they are in its log-probabilities.

    Attributes:
        policy_logprobs_T: log-probabilities under the policy being updated; carries the gradient.
        old_logprobs_T: under the policy at the start of the update; the importance ratio's denominator.
        rollout_logprobs_T: as captured while sampling, by the weights of the rollout.
        advantages_T: each token bears its completion's advantage, or its own where the estimator gave one.
        rows_T: completion that each token belongs to, int64, counted within this micro-batch.
        ref_logprobs_T: under the reference policy; None where the loss did not ask for one.
        entropy_T: entropy in nats of the distribution that each token was drawn from, under the policy being updated;
            carries the gradient.
        lengths_B: sampled tokens of each completion of this micro-batch, int64.
        truncated_B: whether a limit of tokens ended it.
        statuses: how it ended.
        top_entropy_T: True at the tokens of highest entropy, of which there are as many as the loss's `top_entropy`
            says, over the whole mini-batch; None where the loss asks for all.
    """

    policy_logprobs_T: Tensor
    old_logprobs_T: Tensor
    rollout_logprobs_T: Tensor
    advantages_T: Tensor
    rows_T: Tensor
    ref_logprobs_T: Tensor | None = None
    entropy_T: Tensor | None = None
    lengths_B: Tensor | None = None
    truncated_B: Tensor | None = None
    statuses: tuple[CompletionStatus, ...] = ()
    top_entropy_T: Tensor | None = None


@frozen(eq=False)
class TokenLosses:
    """A policy loss's answer, token by token.

    Attributes:
        values_T: loss of each token; morl weights and sums them as the loss's `aggregation` says.
        metrics: detached per-token figures to log as means over tokens, e.g. `{"clip_fraction": (T,)}`.
    """

    values_T: Tensor
    metrics: Mapping[str, Tensor] = field(factory=dict)


Aggregation: TypeAlias = Literal[
    "token-mean", "sequence-mean", "sequence-sum", "dr-grpo", "dapo", "bnpo", "grpo", "dr_grpo"
]
"""How token losses become one number; the last four are TRL's names of some of the others."""

AggregationWeights: TypeAlias = Callable[[Tensor, int], Tensor]
"""An aggregation that a loss brings along: lengths (B,) of the completions of a mini-batch, all ranks' together, and
`sampling.max_tokens` -> the weight (B,) that each token of a completion bears."""
