"""The forest plot: every pair of runs is a point, and what is to scale on paper is to scale on the page."""

from __future__ import annotations

import pytest
from attrs import evolve

from morl.analysis.forest import MOST_ROWS, MOST_UNDECLARED, forests, headline
from morl.analysis.plan import Contrast, Plan
from morl.analysis.runs import read_run
from morl.analysis.summary import summarise

SEEDS = range(8)


@pytest.fixture(scope="module")
def runs(make_run):
    return [
        read_run(
            make_run(
                arm, seed, {"good": [0.5], "brief": [0.5]}, {1: {"good": gain * (1 + seed), "brief": -10.0 * gain}}
            )
        )
        for arm, gain in (("grpo", 0.0), ("gdpo", 0.25), ("rloo", -0.5))
        for seed in SEEDS
    ]


def study(runs, *contrasts, equivalence=None):
    return summarise(runs, [], "t", "c", Plan(tuple(Contrast(*one) for one in contrasts), equivalence))


def test_places_are_to_scale(runs):
    results = study(runs, ("grpo", "gdpo", "good"), equivalence=0.5)
    shown, others = headline(results)
    (forest,) = forests(results, shown)
    (row,) = forest.rows
    assert len(others) == 11, "two measures, two rewards, three pairs of arms"
    assert len(row.points) == len(SEEDS)
    first, last = row.points[0], row.points[-1]
    assert first - forest.zero == pytest.approx((last - forest.zero) / 8, abs=0.02), "0.25 and 2.0"
    assert row.mean == pytest.approx((first + last) / 2, abs=0.02)
    assert row.low < row.mean < row.high
    for place, value in forest.ticks:
        assert place - forest.zero == pytest.approx(value / 2.0 * (last - forest.zero), abs=0.05)
    low, high = forest.margin
    assert high - low == pytest.approx((last - forest.zero) / 2, abs=0.05), "from -0.5 to 0.5"
    assert all(0 <= place <= 100 for place in (*row.points, row.low, row.high, low, high))


def test_each_reward_has_an_axis_of_its_own(runs):
    results = study(runs, ("grpo", "gdpo", "good"), ("grpo", "gdpo", "brief"), ("grpo", "rloo", "brief"))
    found = forests(results, headline(results)[0])
    assert [(one.reward, len(one.rows)) for one in found] == [("good", 1), ("brief", 2)]


def test_what_was_declared_comes_first_and_alone(runs):
    shown, _ = headline(study(runs, ("rloo", "gdpo", "brief")))
    assert [(one.second, one.first, one.reward) for one in shown] == [("gdpo", "rloo", "brief")]


def test_without_a_declaration_finals_are_compared_with_the_first_line(runs):
    shown, others = headline(study(runs))
    assert len(shown) == 4 < MOST_UNDECLARED < MOST_ROWS
    assert all(one.first == "grpo" and one.measure == "final" for one in shown)
    assert len(others) == 8


def test_seeds_that_are_no_pair_are_no_points(runs):
    results = study(runs, ("grpo", "gdpo", "good"))
    results = evolve(results, comparisons=tuple(evolve(one, left_out=(0, 3)) for one in results.comparisons))
    (forest,) = forests(results, headline(results)[0])
    assert len(forest.rows[0].points) == len(SEEDS) - 2


def test_equal_runs_have_an_axis_all_the_same(make_run):
    runs = [read_run(make_run(arm, seed, {"good": [1.0]})) for arm in ("a", "b") for seed in (0, 1)]
    results = study(runs)
    (forest,) = forests(results, headline(results)[0])
    assert forest.rows[0].points == (50.0, 50.0)
    assert forest.zero == forest.rows[0].mean == 50.0
