"""Advantages of turns: rewards that were given for a turn count for the tokens of that turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from morl.advantage import ConstantWeighting, finite, weights_of
from morl.advantage.options import check_ddof
from morl.advantage.weighting import check_weighting
from morl.errors import ConfigError, suggest
from morl.types import Advantages, RewardMatrix, Weights
from morl_estimators.mo_grpo import MOGRPO
from morl_estimators.options import number


@frozen
class TurnLevel:
    """Turn-level advantages of conversations, after MT-GRPO.

        A_ijt = sum over rewards of whole completions of w_k z_ijk
              + sum over rewards of turns of w_k sum_{u >= t} discount^(u - t) z_ijuk

    t counts the turns of a completion.  z is normalised as by `mo-grpo`: a reward of whole completions over the group,
    a reward of turns over the u-th turns of the group that were given it.  A reward is one of turns where
    `RewardMatrix.turn_rewards` has a number of it for any turn of the batch; what an environment gives with its
    answers, or at the end, arrives there, unless `whole` names it.  Tokens of a turn bear A_ijt; `values_B` and the
    contributions are means over the sampled tokens of the completion.

    With one reward of the first of two turns, one of the whole, and `discount: 0`, this is MT-GRPO.

    Read: notes on MT-GRPO; the sum over later turns is the usual discounted return, not taken from there.

    Args:
        whole: rewards of the environment that are of whole completions, though they arrive with a turn, such as one
            that is given at the end.
        discount: how much a reward of a later turn counts for an earlier one, 0 to 1.
        ddof: 1 divides sums of squares by n - 1; 0 by n.
        weighting: where the weights w_k come from; with one that tells completions apart, a turn has its completion's.

    Raises:
        ConfigError: an option out of its range; in `whole` a reward that is not there; rewards of a matrix that does
            not say where turns lie.

    Two completions of two turns, of one token and two. The first turn of the second completion was rewarded:

    >>> rewards = RewardMatrix(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 0]), ("found",),
    ...     spans=(((0, 1), (1, 3)),) * 2, turn_rewards=(({"found": 0.0}, {}), ({"found": 1.0}, {})))
    >>> TurnLevel()(rewards).values_BT
    tensor([[-0.7071,  0.0000,  0.0000],
            [ 0.7071,  0.0000,  0.0000]])
    """

    min_group_size: ClassVar[int] = 2
    needs_turns: ClassVar[bool] = True

    whole: Sequence[str] = field(default=(), converter=tuple)
    discount: float = 0.0
    ddof: int = field(default=1, validator=check_ddof)
    weighting: Weights = field(factory=ConstantWeighting, validator=check_weighting)

    def __attrs_post_init__(self) -> None:
        if number("discount of turn-level", self.discount, least=0) > 1:
            raise ConfigError(f"discount of turn-level must be at most 1; got {self.discount:g}")

    def check_rewards(self, names: Sequence[str]) -> None:
        """Names in `whole` must be rewards of the run.

        Raises:
            ConfigError: one that is not there.
        """
        for name in self.whole:
            if name not in names:
                known = ", ".join(names)
                raise ConfigError(f"whole of turn-level: no reward {name!r}{suggest(name, names)}; rewards: {known}")

    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch: of completions, of rewards, and of tokens (B, T)."""
        if rewards.spans is None:
            raise ConfigError("turn-level needs to know where the turns of completions lie: give the matrix `spans`")
        weights = weights_of(self.weighting, rewards).expand(rewards.values_BK.shape)
        by_turn_K = torch.tensor([name in self._of_turns(rewards) for name in rewards.names], device=weights.device)
        whole_BK = self._normalised(evolve(rewards, valid_BK=rewards.valid_BK & ~by_turn_K), weights)
        turns = _Turns.of(rewards, by_turn_K)
        terms_NK = whole_BK[turns.row_N] + self._returns(rewards, turns, weights)
        return _spread(rewards, turns, terms_NK, whole_BK)

    def _of_turns(self, rewards: RewardMatrix) -> set[str]:
        """Rewards that some turn of the batch was given, but for those of whole completions."""
        given = {name for turns in rewards.turn_rewards or () for turn in turns for name in turn}
        return given - {*self.whole}

    def _normalised(self, rewards: RewardMatrix, weights_BK: Tensor) -> Tensor:
        """w_k z_k (B, K), float64."""
        wide = evolve(rewards, values_BK=rewards.values_BK.double(), turn_rewards=None)
        return MOGRPO(ddof=self.ddof, weighting=lambda _: weights_BK)(wide).contributions_BK

    def _returns(self, rewards: RewardMatrix, turns: _Turns, weights_BK: Tensor) -> Tensor:
        """Discounted sums of normalised rewards of turns, (N, K)."""
        group_B = torch.unique(rewards.group_ids_B, return_inverse=True)[1]
        longest = int(turns.place_N.max()) + 1 if len(turns.place_N) else 1
        matrix = RewardMatrix(
            turns.values_NK, group_B[turns.row_N] * longest + turns.place_N, rewards.names, valid_BK=turns.valid_NK
        )
        terms_NK = self._normalised(matrix, weights_BK[turns.row_N])
        # Turns of a completion lie side by side: from the last place to the first, each adds what comes after it.
        for place in range(longest - 2, -1, -1) if self.discount else ():
            here_N = (turns.place_N[:-1] == place) & (turns.row_N[:-1] == turns.row_N[1:])
            rows_N = here_N.nonzero()[:, 0]
            terms_NK[rows_N] += self.discount * terms_NK[rows_N + 1]
        return terms_NK


@frozen(eq=False)
class _Turns:
    """All turns of a batch, those of a completion side by side.

    Attributes:
        row_N: completion that each belongs to.
        place_N: which of its turns it is, from 0.
        length_N: its sampled tokens.
        values_NK: rewards that it was given, float64.
        valid_NK: whether it was given them, and the reward of the completion is not missing.
    """

    row_N: Tensor
    place_N: Tensor
    length_N: Tensor
    values_NK: Tensor
    valid_NK: Tensor

    @classmethod
    def of(cls, rewards: RewardMatrix, by_turn_K: Tensor) -> _Turns:
        assert rewards.spans is not None
        device, K = rewards.values_BK.device, len(rewards.names)
        turn_rewards = rewards.turn_rewards or tuple(({},) * len(spans) for spans in rewards.spans)
        places = [(row, place) for row, spans in enumerate(rewards.spans) for place in range(len(spans))]
        lengths = [end - start for spans in rewards.spans for start, end in spans]
        given = [[turn.get(name, torch.nan) for name in rewards.names] for turns in turn_rewards for turn in turns]
        row_N, place_N = torch.tensor(places, dtype=torch.int64, device=device).reshape(-1, 2).T
        values_NK = torch.tensor(given, dtype=torch.float64, device=device).reshape(-1, K)
        valid_NK = ~values_NK.isnan() & rewards.valid_BK[row_N] & by_turn_K
        return cls(row_N, place_N, torch.tensor(lengths, dtype=torch.int64, device=device), values_NK, valid_NK)


def _spread(rewards: RewardMatrix, turns: _Turns, terms_NK: Tensor, whole_BK: Tensor) -> Advantages:
    """Advantages of tokens, and means over them for completions; one without a token has what its rewards say of it."""
    assert rewards.spans is not None
    dtype, length_N1 = rewards.values_BK.dtype, turns.length_N[:, None].double()
    tokens_B1 = torch.zeros_like(whole_BK[:, :1]).index_add_(0, turns.row_N, length_N1)
    terms_BK = torch.zeros_like(whole_BK).index_add_(0, turns.row_N, terms_NK * length_N1)
    terms_BK = torch.where(tokens_B1 > 0, terms_BK / tokens_B1.clamp(min=1), whole_BK)
    mask_BT = rewards.sampled_mask_BT
    values_BT = torch.zeros(mask_BT.shape, dtype=dtype, device=terms_BK.device)
    values_BT[mask_BT] = finite(terms_NK.sum(1), dtype).repeat_interleave(turns.length_N)
    return Advantages(finite(terms_BK.sum(1), dtype), finite(terms_BK, dtype), values_BT)
