"""The laws that the presets of peers keep, and those that a peer's rule for missing rewards breaks by design."""

from __future__ import annotations

from functools import partial

import pytest

from morl.advantage import GDPO, GRPO
from morl.testing import check_advantage_estimator

MEAN = ("zero-mean", "shift", "dead-reward", "rounding")
PRESETS = {
    "grpo, trl": (partial(GRPO, preset="trl"), (*MEAN, "local")),
    "grpo, trl, batch": (partial(GRPO, preset="trl", scale="batch"), ("zero-mean",)),
    "grpo, ms-swift": (partial(GRPO, preset="ms-swift"), (*MEAN, "local")),
    "grpo, verl": (partial(GRPO, preset="verl"), (*MEAN, "local")),
    "grpo, nemo-rl": (partial(GRPO, preset="nemo-rl"), (*MEAN, "local")),
    "gdpo, trl": (partial(GDPO, preset="trl"), MEAN),
    "gdpo, ms-swift": (partial(GDPO, preset="ms-swift"), MEAN),
    "gdpo, verl": (partial(GDPO, preset="verl"), MEAN),
    "gdpo, nemo-rl": (partial(GDPO, preset="nemo-rl"), MEAN),
}
REFUSE = ("missing", "absent-reward")
"""Need rewards that are missing, which these peers' functions cannot take and these presets refuse."""


@pytest.mark.parametrize("name", PRESETS)
def test_where_every_reward_is_there_presets_keep_the_laws_of_their_estimator(name):
    make, claims = PRESETS[name]
    without = REFUSE if name.endswith(("verl", "nemo-rl")) else ()
    check_advantage_estimator(make, claims=claims, without=without, complete=True, max_examples=4)


AS_ZERO = ("contributions", "no-spread")
"""A missing reward that is taken as 0 in the sum differs from those that are there, and contributes."""


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("grpo, trl", AS_ZERO),
        ("grpo, trl, batch", AS_ZERO),
        ("grpo, ms-swift", (*AS_ZERO, "abstained")),  # a completion without any reward has the sum 0
        ("gdpo, trl", ()),
        ("gdpo, ms-swift", ("abstained",)),  # which counts in the batch
    ],
)
def test_where_rewards_are_missing_they_break_what_their_rule_says(name, without):
    make, _ = PRESETS[name]
    check_advantage_estimator(make, without=without, max_examples=4)
