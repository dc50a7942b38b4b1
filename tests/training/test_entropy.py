"""The coefficient of the entropy bonus, by hand."""

import pytest

from morl.artifacts.metrics import ENTROPY, ENTROPY_COEF
from morl.config.schema import EntropyConfig
from morl.training.entropy import EntropyBonus


def after(bonus, *entropies):
    """The coefficients that steps of these entropies had."""
    return [bonus.finish_step({ENTROPY.name: entropy}).get(ENTROPY_COEF.name) for entropy in entropies]


def test_the_coefficient_rises_while_the_entropy_is_at_most_the_target_and_falls_above_it():
    bonus = EntropyBonus.of(EntropyConfig(coef=0.1, target=1.0, delta=0.02))
    # Before the first step no entropy is known; 2.0 is above the target, 1.0 and 0.5 are not.
    assert after(bonus, 2.0, 1.0, 0.5, 0.5) == pytest.approx([0.0, 0.0, 0.1, 0.12])
    assert (bonus.coef, bonus.applied) == pytest.approx((0.14, 0.14))


def test_the_coefficient_stays_within_its_bounds():
    bonus = EntropyBonus.of(EntropyConfig(coef=0.1, target=1.0, delta=0.08, min_coef=0.05, max_coef=0.2))
    after(bonus, 2.0)
    assert bonus.coef == 0.05
    after(bonus, 0.5, 0.5)
    assert bonus.coef == 0.2


def test_a_step_without_completions_changes_nothing():
    bonus = EntropyBonus.of(EntropyConfig(coef=0.1, target=1.0, delta=0.02))
    after(bonus, 0.5)
    bonus.finish_step({})
    assert (bonus.coef, bonus.applied) == pytest.approx((0.12, 0.12))


def test_without_a_target_the_coefficient_is_fixed():
    bonus = EntropyBonus.of(EntropyConfig(coef=0.1))
    assert after(bonus, 9.0, 0.1) == [0.1, 0.1]
    assert bonus.state() is None
