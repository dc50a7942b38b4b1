"""Advantage estimators: pure functions of the reward matrix of a whole rollout batch.

An estimator is a frozen attrs class: its fields are its options, calling it with a `RewardMatrix` gives `Advantages`.
It sees every prompt of every rank, so its answer cannot depend on how the batch is spread over ranks or micro-batches.
What these estimators guarantee is written down as laws in `morl.testing` and explained in
`docs/explanation/estimators.md`.
"""

from morl.advantage.conditioned import Condition, Conditioned
from morl.advantage.counting import count_distinct_groups
from morl.advantage.functional import gdpo, grpo, grpo_no_std
from morl.advantage.gdpo import GDPO
from morl.advantage.grpo import GRPO, GRPONoStd
from morl.advantage.weighting import ConstantWeighting

__all__ = [
    "GDPO",
    "GRPO",
    "Condition",
    "Conditioned",
    "ConstantWeighting",
    "GRPONoStd",
    "count_distinct_groups",
    "gdpo",
    "grpo",
    "grpo_no_std",
]
