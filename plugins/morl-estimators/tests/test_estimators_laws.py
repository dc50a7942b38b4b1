"""The laws: those of every estimator and weighting, and those that each of these claims besides."""

from __future__ import annotations

from functools import partial

import pytest

from morl.advantage import GDPO, GRPO, GRPONoStd
from morl.testing import check_advantage_estimator, check_weighting
from morl_estimators import (
    CTWA,
    DARA,
    DVAO,
    GD2PO,
    MOGRPO,
    RLOO,
    SAMRPO,
    SAW,
    CorrGRPO,
    Lagrangian,
    MaxRL,
    ParetoRank,
    ReinforcePlusPlus,
    papo,
)

EACH = ("zero-mean", "shift", "scale", "scale-each", "dead-reward", "local")
RAW = ("zero-mean", "shift", "dead-reward", "local")

ESTIMATORS = {
    "mo-grpo": (MOGRPO, EACH),
    "rloo": (RLOO, RAW),
    "reinforce++ with a baseline": (
        partial(ReinforcePlusPlus, baseline="group", eps=0),
        ("zero-mean", "unit-batch-deviation", "shift", "scale", "dead-reward"),
    ),
    "corr-grpo": (CorrGRPO, RAW),
    "corr-grpo with a floor": (partial(CorrGRPO, eps=0, floor=1.0), RAW),
    "gd2po": (partial(GD2PO, eps=0), ("shift", "scale", "scale-each")),
    "gd2po, snr": (partial(GD2PO, form="snr", eps=0), ("shift", "scale", "scale-each")),
    "pareto-rank": (partial(ParetoRank, eps=0), (*EACH, "unit-deviation")),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_keeps_its_laws(name):
    make, claims = ESTIMATORS[name]
    check_advantage_estimator(make, claims=claims, max_examples=15)


def test_papo_keeps_its_laws():
    check_advantage_estimator(lambda: papo("b", "a", at_least=0.0), names=("a", "b"), max_examples=15)


def test_maxrl_keeps_its_laws_on_rewards_of_0_and_more():
    claims = ("zero-mean", "scale", "local")
    check_advantage_estimator(MaxRL, claims=claims, nonnegative=True, max_examples=15)


def test_reinforce_without_a_baseline_compares_prompts():
    """So a group in which nothing differs has advantages, by design; all else holds."""
    make = partial(ReinforcePlusPlus, eps=0)
    claims = ("unit-batch-deviation", "scale")
    check_advantage_estimator(make, claims=claims, without=["no-spread"], max_examples=15)


WEIGHTINGS = {
    "dvao": DVAO,
    "sa-mrpo": SAMRPO,
    "dara": DARA,
    "dara, sym": partial(DARA, form="sym"),
    "saw": SAW,
    "lagrangian": lambda: Lagrangian({"a": {"at_least": 0.5}, "b": {"tokens_at_most": 4}}, lr=0.3),
    "ctwa": lambda: CTWA({"a": 0.5, "b": {"covariance": 1.0, "mean": 2.0}}),
}


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_weighting_keeps_its_laws(name):
    check_weighting(WEIGHTINGS[name], names=("a", "b"), max_examples=15)


@pytest.mark.parametrize("name", ["dvao", "dara", "dara, sym", "lagrangian", "ctwa"])
@pytest.mark.parametrize("make", [GDPO, GRPO, GRPONoStd])
def test_estimators_keep_their_laws_under_these_weightings(make, name):
    estimator = partial(make, weighting=WEIGHTINGS[name]())
    check_advantage_estimator(estimator, names=("a", "b"), max_examples=5)
