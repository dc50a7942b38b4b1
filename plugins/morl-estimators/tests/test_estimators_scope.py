"""A scope of `group` is true: a group alone gets what it gets within a batch."""

from __future__ import annotations

import pytest
import torch

from morl.advantage import GDPO, GRPO, ScheduleWeighting
from morl.advantage.scope import scope_of
from morl.types import RewardMatrix
from morl_estimators.corr_grpo import CorrGRPO
from morl_estimators.gd2po import GD2PO
from morl_estimators.maxrl import MaxRL
from morl_estimators.mo_grpo import MOGRPO
from morl_estimators.pareto import ParetoRank
from morl_estimators.reinforce import ReinforcePlusPlus
from morl_estimators.rloo import RLOO
from morl_estimators.weightings.dvao import DVAO
from morl_estimators.weightings.saw import SAW

BY_GROUP = (
    RLOO(),
    MOGRPO(),
    MOGRPO(weighting=DVAO()),
    CorrGRPO(),
    MaxRL(),
    ParetoRank(),
    GDPO(batch_norm=False, weighting=DVAO()),
    GRPO(weighting=DVAO()),
    GRPO(weighting=ScheduleWeighting({"a": {"shape": "linear", "start": 0.5, "end": 1.0, "steps": 10}})),
)
BY_BATCH = (GD2PO(), ReinforcePlusPlus(), GDPO(weighting=DVAO()), MOGRPO(weighting=SAW()), RLOO(weighting=SAW()))


@pytest.mark.parametrize("estimator", BY_GROUP, ids=repr)
def test_a_group_alone_gets_what_it_gets_within_a_batch(estimator):
    assert scope_of(estimator) == "group"
    values_PGK = torch.rand(5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    names, weights = ("a", "b", "c"), {"a": 2.0, "b": 1.0, "c": 0.5}
    whole = estimator(RewardMatrix.from_groups(values_PGK, names, weights)).values_B
    alone = [estimator(RewardMatrix.from_groups(each[None], names, weights)).values_B for each in values_PGK]
    torch.testing.assert_close(torch.cat(alone), whole, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("estimator", BY_BATCH, ids=repr)
def test_what_asks_the_batch_says_so(estimator):
    assert scope_of(estimator) == "batch"
