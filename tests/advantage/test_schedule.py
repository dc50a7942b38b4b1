"""Weights by schedule; their formulas, against numpy, and what they refuse are tested with morl-estimators."""

from __future__ import annotations

import torch
from attrs import evolve

from morl.advantage import GDPO, ScheduleWeighting
from morl.testing import check_weighting
from morl.types import RewardMatrix

STEPS = {"shape": "piecewise", "points": {"0": 1, "10": 0}}


def test_it_keeps_the_laws_of_weightings() -> None:
    ramp = {"shape": "cosine", "start": 0.0, "end": 2.0, "steps": 500, "begin": 100}
    check_weighting(lambda: ScheduleWeighting({"a": ramp, "b": STEPS}), names=("a", "b"), max_examples=10)


def test_steps_may_be_texts_as_in_a_config() -> None:
    rewards = RewardMatrix.from_groups(torch.tensor([[[0.0, 0.0], [1.0, 3.0], [0.0, 9.0]]]))
    estimator = GDPO(weighting=ScheduleWeighting({"r1": STEPS}))
    both, one = (estimator(evolve(rewards, step=step)) for step in (9, 10))
    assert both.contributions_BK[:, 1].any()
    assert not one.contributions_BK[:, 1].any(), "a reward whose factor is 0 is left out"
