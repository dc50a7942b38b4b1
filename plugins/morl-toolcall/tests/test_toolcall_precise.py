"""The default formula: it cannot be sprayed, and is the paper's where nothing surplus is called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.errors import ConfigError
from morl_toolcall import correctness, surplus
from morl_toolcall.matching import best_total
from morl_toolcall.paper import correctness as paper


def line(name: str, **parameters: Any) -> str:
    return json.dumps({"name": name, "parameters": parameters})


def block(*lines: str) -> str:
    return "<think> hm </think>\n<tool_call>\n" + "\n".join(lines) + "\n</tool_call>"


BUY = line("buy", count=7, item="pears")
GOLD = block(BUY)
WEATHER = block(line("weather", city="Rome", day="Monday"))
NO_CALL = "<think> hm </think>\n<response> Which item? </response>"


def share(score: float) -> Fraction:
    """Of the points: 0 for -3, 1 for 3."""
    return (Fraction(score).limit_denominator(10_000) + 3) / 6


@pytest.mark.parametrize(
    ("lines", "points", "precision"),
    [
        ([BUY], Fraction(1), Fraction(1)),
        ([line("buy", count=8, item="pears")], Fraction(3, 4), Fraction(1)),  # a wrong value is not surplus
        ([line("buy", item="pears")], Fraction(5, 8), Fraction(1)),  # nor is a missing parameter
        ([line("buy", count=7, item="pears", shop="x")], Fraction(11, 12), Fraction(3, 4)),  # an extra one is
        ([BUY, BUY], Fraction(1), Fraction(1, 2)),
        ([BUY, line("sell")], Fraction(7, 8), Fraction(3, 4)),
        ([BUY] * 4, Fraction(1), Fraction(1, 4)),
        ([line("sell")], Fraction(0), Fraction(0)),
        ([], Fraction(0), Fraction(1)),
    ],
)
def test_values_by_hand(lines: list[str], points: Fraction, precision: Fraction) -> None:
    assert correctness(block(*lines), GOLD) == float(6 * points * precision - 3)
    assert paper(block(*lines), GOLD) == float(6 * points - 3)


def test_enumerating_every_city_and_day_is_worth_one_of_sixty_calls() -> None:
    cities = ["Rome", "Oslo", "Lima", "Bonn", "Kyiv", "Pune", "Bern", "Baku", "Doha", "Riga", "Lyon", "Cork"]
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
    spray = block(*(line("weather", city=city, day=day) for city in cities for day in days))
    assert correctness(spray, WEATHER) == float(Fraction(6, 60) - 3)
    assert surplus(spray, WEATHER) == 59
    assert paper(spray, WEATHER) == 3.0


@pytest.mark.parametrize("extra", [BUY, line("buy", count=1, item="figs"), line("buy"), line("sell", count=7)])
def test_each_surplus_call_lowers_the_score(extra: str) -> None:
    scores = [correctness(block(BUY, *[extra] * k), GOLD) for k in range(21)]
    assert scores[0] == 3.0
    assert all(more < fewer for fewer, more in pairwise(scores))
    assert [surplus(block(BUY, *[extra] * k), GOLD) for k in (0, 1, 20)] == [0, 1, 20]


def test_surplus_parameters_lower_it_too() -> None:
    scores = [
        correctness(line("buy", count=7, item="pears", **{f"x{i}": 1 for i in range(k)}), GOLD) for k in (0, 1, 2, 50)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < -2.5


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (NO_CALL, 3.0),
        ("<response> 42 </response>", 3.0),
        ("<response> はい </response>", 3.0),
        ("so <response> ok </response> so", 3.0),
        ("", 0.0),
        ("Which item?", 0.0),
        ("asdf ]]{ qwer", 0.0),
        ("<think> hm </think>", 0.0),
        ("<think> <response> ok </response> </think>", 0.0),
        ("<response> ok", 0.0),  # never ends
        ("<response> \n </response>", 0.0),
        ("<response> ... </response>", 0.0),
        ("<response></response>", 0.0),
        ("<tool_call> nonsense </tool_call> <response> ok </response>", 0.0),
        (GOLD, -3.0),
        (BUY, -3.0),
        (f"{NO_CALL} {BUY}", -3.0),
        (f"<response> I call {BUY} </response>", 3.0),
    ],
)
def test_where_no_call_is_expected_only_a_response_earns_full_marks(text: str, score: float) -> None:
    assert correctness(text, NO_CALL) == score
    assert paper(text, NO_CALL) == (-3.0 if score < 0 else 3.0)


def test_strict_reading_holds_for_no_call_as_well() -> None:
    assert correctness(NO_CALL, NO_CALL, lenient=False) == 3.0
    assert correctness("<response> </response>", NO_CALL, lenient=False) == 0.0
    assert correctness("so <response> ok </response>", NO_CALL, lenient=False) == -3.0


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ConfigError, match="variant must be 'precise' or 'paper'; got 'papr'"):
        correctness(GOLD, GOLD, variant="papr")  # type: ignore[arg-type]


# Properties ----------------------------------------------------------------------------------------------------------

names = st.sampled_from(["f", "g"])
calls = st.builds(
    lambda name, parameters: {"name": name, "parameters": parameters},
    names,
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2), max_size=4),
)
golds = st.lists(calls, min_size=1, max_size=4)


def written(calls: Sequence[Any]) -> str:
    return block(*map(json.dumps, calls)) if calls else NO_CALL


@given(golds)
def test_the_gold_answer_scores_3_and_has_no_surplus(gold: list[Any]) -> None:
    assert correctness(written(gold), written(gold)) == 3.0
    assert surplus(written(gold), written(gold)) == 0


@given(golds, st.lists(calls, max_size=5))
def test_it_is_never_above_the_paper_and_equal_without_surplus(gold: list[Any], predicted: list[Any]) -> None:
    ours, theirs = (grade(written(predicted), written(gold)) for grade in (correctness, paper))
    assert -3.0 <= ours <= theirs <= 3.0
    if len(gold) == 1 and not surplus(written(predicted), written(gold)) and predicted:
        extra = predicted[0]["parameters"].keys() - gold[0]["parameters"].keys()
        assert (ours == theirs) == (not extra or theirs == -3.0)


@given(golds, st.lists(calls, max_size=4), calls)
def test_a_call_beyond_all_that_are_wanted_lowers_it(gold: list[Any], predicted: list[Any], extra: Any) -> None:
    unwanted = {**extra, "name": "unwanted"}
    before = correctness(written(predicted), written(gold))
    after = correctness(written([*predicted, unwanted]), written(gold))
    assert after < before or before == after == -3.0


@given(st.lists(calls, min_size=1, max_size=4), st.lists(st.tuples(calls, st.integers(1, 3)), min_size=1, max_size=4))
def test_a_list_of_guesses_is_no_better_than_its_best_guess(guesses: list[Any], belief: list[tuple[Any, int]]) -> None:
    # `belief`: the one call that is wanted, each with a weight.
    def expected(predicted: list[Any]) -> Fraction:
        return sum(
            weight * share(correctness(written(predicted), written([gold]))) for gold, weight in belief
        ) or Fraction(0)

    assert expected(guesses) <= max(expected([guess]) for guess in guesses)


@given(golds, st.lists(calls, max_size=4), st.randoms(use_true_random=False))
def test_equal_scores_are_equal_floats(gold: list[Any], predicted: list[Any], random: Any) -> None:
    before = [grade(written(predicted), written(gold)) for grade in (correctness, paper)]
    random.shuffle(gold)
    random.shuffle(predicted)
    assert [grade(written(predicted), written(gold)) for grade in (correctness, paper)] == before


def test_a_score_that_sums_of_floats_miss() -> None:
    # 1/3 + 1/3 + 1/3 + ... in floating point gave -1.6999999999999997 beside -1.7.
    for size in range(1, 8):
        gold = block(*(line("f", **{"a": i, **{f"k{j}": 0 for j in range(size)}}) for i in range(3)))
        text = block(*(line("f", a=i) for i in range(3)))
        exact = 6 * (1 + Fraction(3, 1 + size) + 3) / (1 + 3 + 3 * (1 + size)) - 3
        assert correctness(text, gold) == paper(text, gold) == float(exact)


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(st.integers(0, 9), min_size=width, max_size=width), max_size=4)
    )
)
def test_the_matching_is_the_best_of_all(weights: list[list[int]]) -> None:
    rows, columns = len(weights), len(weights[0]) if weights else 0
    slots = [*range(columns), *[None] * rows]
    best = max(
        sum(weights[row][slot] for row, slot in enumerate(choice) if slot is not None)
        for choice in permutations(slots, rows)
    )
    assert best_total(weights) == best


def test_the_matching_is_exact_where_floats_are_not() -> None:
    big = 2**60
    assert best_total([[big + 1, big], [big, big]]) == 2 * big + 1
    assert best_total([[big, big + 1], [big, 0]]) == 2 * big + 1
