"""What is refused, and what is said about it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from attrs import evolve

from morl.advantage import GDPO, ScheduleWeighting
from morl.errors import ConfigError, MorlError, RewardError
from morl.types import RewardMatrix
from morl_estimators import CTWA, DARA, GD2PO, SAMRPO, SAW, CorrGRPO, Lagrangian, MaxRL, ReinforcePlusPlus, TokenCost

REWARDS = RewardMatrix.from_groups(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]))
RAMP = {"shape": "linear", "start": 0, "end": 1}


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (partial(ScheduleWeighting, {}), "needs rewards, such as .*; got {}"),
        (partial(ScheduleWeighting, {"r0": RAMP}), "needs start, end and steps; steps is missing"),
        (partial(ScheduleWeighting, {"r0": RAMP | {"steps": 0}}), "steps of .*'r0' must be .* at least 1; got 0"),
        (
            partial(ScheduleWeighting, {"r0": RAMP | {"steps": 2, "end": float("nan")}}),
            "end of .* finite number; got nan",
        ),
        (
            partial(ScheduleWeighting, {"r0": RAMP | {"steps": 2, "stop": 1}}),
            "no option 'stop'; did you mean 'steps'.; it takes start",
        ),
        (partial(ScheduleWeighting, {"r0": {"shape": "liner"}}), "one of .*; did you mean 'linear'"),
        (partial(ScheduleWeighting, {"r0": 3}), "must have a shape, one of linear, cosine, piecewise; got 3$"),
        (partial(ScheduleWeighting, {"r0": {"shape": "piecewise"}}), "needs points"),
        (partial(ScheduleWeighting, {"r0": {"shape": "piecewise", "points": {5: 1}}}), "begin with step 0 and rise"),
        (partial(SAMRPO, gamma=0), "gamma of sa-mrpo must be a finite number above 0; got 0"),
        (partial(DARA, form="asymm"), "form of dara must be asym or sym; did you mean 'asym'"),
        (partial(DARA, w_max=0.5), "w_max of dara must be a finite number >= 1; got 0.5"),
        (partial(Lagrangian, {}), "lagrangian needs constraints"),
        (partial(Lagrangian, {"r0": {"least": 1}}), "must be {KIND: <number>} with one KIND of at_least"),
        (partial(Lagrangian, {"r0": {"at_least": "x"}}), "at_least of the constraint on reward 'r0' .*; got 'x'"),
        (partial(Lagrangian, {"r0": {"tokens_at_most": 0}}), "tokens_at_most of .* above 0; got 0"),
        (partial(Lagrangian, {"r0": {"at_least": 1}}, lr=-1), "lr of lagrangian .* above 0; got -1"),
        (partial(Lagrangian, {"r0": {"at_least": 1}}, start=11), "start=11, above its ceiling=10"),
        (partial(CTWA, {}), "ctwa needs targets"),
        (partial(CTWA, {"r0": {"mean": 1}}), "target of reward 'r0' must be a covariance"),
        (partial(CTWA, {"r0": 1}, tau=2), "tau of ctwa is a share, at most 1; got 2"),
        (partial(GD2PO, form="soft"), "form of gd2po must be hard or snr"),
        (partial(GD2PO, tau=0.2), "form of gd2po with a tau must be snr; got 'hard'"),
        (partial(GD2PO, form="snr", tau=1.5), "tau of gd2po is a share of .*, at most 1; got 1.5"),
        (partial(GD2PO, share=1), "share of gd2po must be true or false; got 1"),
        (partial(CorrGRPO, floor=-1), "floor of corr-grpo must be a finite number >= 0; got -1"),
        (partial(ReinforcePlusPlus, baseline="none"), "baseline of reinforce.* must be batch or group"),
        (partial(TokenCost, 0), "budget of token-cost must be at least 1 token; got 0"),
        (partial(TokenCost, 5, ceiling=0), "ceiling of token-cost .* above 0"),
    ],
)
def test_options_out_of_range_are_refused(make, fault):
    with pytest.raises(ConfigError, match=fault):
        make()


@pytest.mark.parametrize(
    "weighting",
    [
        ScheduleWeighting({"brief": RAMP | {"steps": 3}}),
        Lagrangian({"brief": {"at_least": 1}}),
        CTWA({"brief": 1}),
    ],
)
def test_an_unknown_reward_is_refused_before_training_and_when_asked(weighting):
    with pytest.raises(ConfigError, match="unknown reward 'brief'; rewards: r0, r1"):
        weighting.check_rewards(("r0", "r1"))
    with pytest.raises(ConfigError, match="unknown reward 'brief'"):
        GDPO(weighting=weighting)(REWARDS)


@pytest.mark.parametrize("weighting", [SAMRPO(), SAW()])
def test_bounds_are_needed(weighting):
    assert weighting.requires_bounds
    with pytest.raises(ConfigError, match="needs the bounds of every reward, and r1 has none"):
        weighting(evolve(REWARDS, bounds={"r0": (0.0, 1.0)}))
    weighting(evolve(REWARDS, bounds={"r0": (0.0, 1.0)}, weights={"r1": 0.0}))


def test_maxrl_wants_rewards_of_0_and_more():
    MaxRL().check_bounds({"r0": (0.0, 1.0), "r1": (-1.0, 1.0)}, {"r0": 1.0, "r1": 0.0, "r2": 1.0})
    with pytest.raises(ConfigError, match=r"the bounds of r1 are \[-1.0, 1.0\]: shift the reward"):
        MaxRL().check_bounds({"r1": (-1.0, 1.0)}, {"r1": 1.0})
    with pytest.raises(ConfigError, match=r"rewards.r1.weight is -1"):
        MaxRL().check_bounds({}, {"r1": -1.0})
    with pytest.raises(RewardError, match="reward 'r1' of completion 1 is -2"):
        MaxRL()(RewardMatrix.from_groups(torch.tensor([[[0.0, 1.0], [1.0, -2.0]]])))
    with pytest.raises(ConfigError, match="its weighting gives negative ones"):
        MaxRL(weighting=lambda r: -r.weights_K)(REWARDS)


def test_a_budget_needs_lengths():
    budget = Lagrangian({"r0": {"tokens_at_most": 4}})
    with pytest.raises(ConfigError, match="needs the lengths of the completions"):
        budget.update(REWARDS, GDPO(weighting=budget)(REWARDS))


@pytest.mark.parametrize(
    ("weighting", "other"),
    [
        (Lagrangian({"r0": {"at_least": 1}}), Lagrangian({"r1": {"at_least": 1}})),
        (CTWA({"r0": 1}), CTWA({"r1": 1})),
    ],
)
def test_a_state_of_other_options_is_refused(weighting, other):
    with pytest.raises(MorlError, match=r"the checkpoint has .* of r1; the (constraints|targets) are (on|for) r0"):
        weighting.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("constraint", "fault"),
    [
        ({"at_least": 2}, r"constraint \{at_least: 2\} on reward 'r0' can never be met: its bounds are \[0, 1\]"),
        ({"at_most": -1}, r"\{at_most: -1\} .* never be met"),
    ],
)
def test_a_constraint_that_cannot_be_met_is_refused(constraint, fault):
    with pytest.raises(ConfigError, match=fault):
        Lagrangian({"r0": constraint}).check_bounds({"r0": (0.0, 1.0)}, {})


@pytest.mark.parametrize("constraint", [{"at_least": 1}, {"at_most": 0}, {"tokens_at_most": 500}])
def test_a_constraint_at_a_bound_can_be_met(constraint):
    Lagrangian({"r0": constraint}).check_bounds({"r0": (0.0, 1.0)}, {})
    Lagrangian({"r0": constraint}).check_bounds({}, {})
