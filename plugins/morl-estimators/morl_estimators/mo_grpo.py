"""MO-GRPO, and PAPO, which is MO-GRPO on a reward that only some completions have."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from morl.advantage import GDPO, Conditioned, ConstantWeighting
from morl.advantage.options import check_ddof
from morl.advantage.scope import Scope, scope_of_parts
from morl.advantage.weighting import check_weighting
from morl.types import Advantages, RewardMatrix, Weights


@frozen
class MOGRPO:
    """Multi-Objective GRPO (arXiv 2509.22047): rewards normalised one by one, then added.

        A_ij = sum_k w_k (r_ijk - mean_G r_ik) / std_G r_ik

    `gdpo` without batch normalisation.  The paper has no weights; those of the config are 1 unless they are set.

    Read: the abstract, and notes on the method.

    Args:
        ddof: 1 divides sums of squares by n - 1; 0 by n.
        weighting: where the weights w_k come from.

    Raises:
        ConfigError: an option out of its range.

    >>> import torch
    >>> MOGRPO()(RewardMatrix.from_groups(torch.tensor([[[0.0, 0.0], [1.0, 9.0]]]))).values_B
    tensor([-1.4142,  1.4142])
    """

    min_group_size: ClassVar[int] = 2

    ddof: int = field(default=1, validator=check_ddof)
    weighting: Weights = field(factory=ConstantWeighting, validator=check_weighting)

    @property
    def scope(self) -> Scope:
        """`group` with a weighting that is: no completion of another prompt matters."""
        return scope_of_parts("group", self.weighting)

    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """Advantages of a whole rollout batch, values (B,) and contributions (B, K) in the dtype of the rewards."""
        return GDPO(batch_norm=False, ddof=self.ddof, weighting=self.weighting)(rewards)


def papo(process: str, outcome: str, at_least: float = 1.0, ddof: int = 1) -> Conditioned:
    """Process-Aware Policy Optimization (PAPO, arXiv 2603.26535).

        A_ij = z_ij(outcome) over all + z_ij(process) over the completions whose outcome reaches at_least

    A condition that leaves the process reward out where the outcome is not reached, and then `mo-grpo`; further rewards
    are normalised over all.

    Read: the abstract, which says over which completions each part is normalised.

    Args:
        process: name of the reward that only correct completions are compared by.
        outcome: name of the reward that says which are correct.
        at_least: what it must reach.
        ddof: 1 divides sums of squares by n - 1; 0 by n.

    Raises:
        ConfigError: an option out of its range.

    Three of four are correct; the process reward compares these three, and says nothing of the fourth:

    >>> import torch
    >>> values = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [0.0, 9.0]]])
    >>> papo("rubric", "correct")(RewardMatrix.from_groups(values, ("correct", "rubric"))).values_B
    tensor([-0.5000,  0.5000,  1.5000, -1.5000])
    """
    condition = {"on": outcome, "at_least": at_least, "otherwise": "missing"}
    return Conditioned(MOGRPO(ddof=ddof), {process: condition})
