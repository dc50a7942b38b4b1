"""Advantage estimators: pure functions of the reward matrix of a whole rollout batch.

An estimator is a frozen attrs class: its fields are its options, calling it with a `RewardMatrix` gives `Advantages`.
It sees every prompt of every rank, so its answer cannot depend on how the batch is spread over ranks or micro-batches.
What these estimators guarantee is written down as laws in `morl.testing` and explained in
`docs/explanation/estimators.md`.

**What is here, and what is not.**  Here is what the GDPO paper and its peers compare, and weights that a user sets
(`constant`, `schedule`).  Methods of other papers are parts of plugins, such as `morl-estimators`.

**Building blocks**, for estimators and weightings of your own.  The laws `finite`, `order` and `no-spread` are hard to
keep with means and standard deviations as one would write them; these keep them:

- `Groups`: which completions belong together, with sums and extremes that are the same to the last bit for every order
  of the completions
- `in_order`: puts the completions of a group side by side before an estimator is called, where all of this is fastest
- `group_deviations`: each reward less its mean over its group, in units of its range there, with what rounding may
  have done to it; `Deviations.std` is the standard deviation in the same units
- `deviation_blocks`, of what `with_weight` leaves: the same in parts that fit into a cache
- `weighted_sums`: the weighted sum of the rewards less its mean over each group
- `snapped`: exactly 0 where a sum is within its rounding error
- `unit_weights`, `divisor`, `finite`: products that do not overflow, quotients by what may be 0, back into the dtype
- `weights_of`, `aligned`, `vary_within`, `centred`: what a weighting answers, and what follows where it tells
  completions of one group apart

`docs/tutorial/writing-a-plugin.md` builds an estimator of them.
"""

from morl.advantage.conditioned import Condition, Conditioned
from morl.advantage.counting import count_distinct_groups
from morl.advantage.deviations import Deviations, deviation_blocks, with_weight
from morl.advantage.deviations import deviations as group_deviations
from morl.advantage.functional import gdpo, grpo, grpo_no_std
from morl.advantage.gdpo import GDPO
from morl.advantage.groups import Groups, divisor, finite, snapped, unit_weights
from morl.advantage.grpo import GRPO, GRPONoStd
from morl.advantage.order import in_order
from morl.advantage.schedule import ScheduleWeighting
from morl.advantage.sums import WeightedSums, weighted_sums
from morl.advantage.weighting import ConstantWeighting, aligned, centred, vary_within, weights_of

__all__ = [
    "GDPO",
    "GRPO",
    "Condition",
    "Conditioned",
    "ConstantWeighting",
    "Deviations",
    "GRPONoStd",
    "Groups",
    "ScheduleWeighting",
    "WeightedSums",
    "aligned",
    "centred",
    "count_distinct_groups",
    "deviation_blocks",
    "divisor",
    "finite",
    "gdpo",
    "group_deviations",
    "grpo",
    "grpo_no_std",
    "in_order",
    "snapped",
    "unit_weights",
    "vary_within",
    "weighted_sums",
    "weights_of",
    "with_weight",
]
