"""The paper variant of correctness: values worked out by hand, what is read as a call, and laws."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.errors import DataError
from morl_toolcall.paper import correctness


def line(name: str, **parameters: Any) -> str:
    return json.dumps({"name": name, "parameters": parameters})


def block(*lines: str) -> str:
    return "<think> hm </think>\n<tool_call>\n" + "\n".join(lines) + "\n</tool_call>"


BUY = line("buy", count=7, item="pears")
GOLD = block(BUY)  # S_max = 1 + 1 + 2 = 4
TWO = block(line("a", x=1), line("b", y=2))  # S_max = 1 + 2 + 2 = 5
TWINS = block(line("a", x=1), line("a", x=2))  # likewise
NO_CALL = "<think> hm </think>\n<response> Which item? </response>"


@pytest.mark.parametrize(
    ("gold", "lines", "score"),
    [
        (GOLD, [BUY], 4),
        (GOLD, [line("buy", item="pears", count=7)], 4),  # order of parameters
        (GOLD, [line("buy", count=8, item="pears")], 1 + 1 + 1),  # a wrong value
        (GOLD, [line("buy", count="7", item="pears")], 1 + 1 + 1),  # a wrong type
        (GOLD, [line("buy", item="pears")], 1 + 1 / 2 + 1),  # a missing parameter
        (GOLD, [line("buy", count=7, item="pears", shop="x")], 1 + 2 / 3 + 2),  # an extra one
        (GOLD, [line("buy")], 1),
        (GOLD, [line("sell", count=7, item="pears")], 0),  # another tool: its parameters mean nothing
        (GOLD, [BUY, line("sell")], 1 / 2 + 1 + 2),  # an extra call of another tool
        (GOLD, [BUY, BUY], 4),  # an extra call of the same tool: names are sets
        (GOLD, [], 0),
        (TWO, [line("b", y=2), line("a", x=1)], 5),  # order of calls
        (TWO, [line("a", x=1)], 1 / 2 + 1 + 1),  # a missing call
        (TWINS, [line("a", x=2), line("a", x=1)], 5),
        (TWINS, [line("a", x=1)], 1 + 1 + 1),  # one call cannot answer both
        (TWINS, [line("a", x=1), line("a", x=1)], 1 + 2 + 1),
        (block(line("now")), [line("now")], 2),  # no parameters, and none wanted
        (block(line("now")), [line("now", zone="utc")], 1 + 0),
    ],
)
def test_the_papers_formula(gold: str, lines: list[str], score: float) -> None:
    highest = {GOLD: 4, TWO: 5, TWINS: 5}.get(gold, 2)
    assert correctness(block(*lines), gold) == pytest.approx(6 * score / highest - 3, abs=1e-12)


def test_the_matching_is_the_best_one_and_not_the_first_come() -> None:
    # Taken in order, the first gold call would seize the only call that fits the second.
    gold = block(line("f", a=1, b=2), line("f", a=1, b=3))
    calls = block(line("f", a=1, b=3), line("f", a=1, c=2))
    # best: (a=1,c=2) with the first gold, 1/3 + 1; (a=1,b=3) with the second, 1 + 2
    assert correctness(calls, gold) == pytest.approx(6 * (1 + 1 / 3 + 1 + 3) / 7 - 3)


def test_where_no_call_is_expected_any_call_is_wrong() -> None:
    assert correctness(NO_CALL, NO_CALL) == 3.0
    assert correctness("Which item?", NO_CALL) == 3.0
    assert correctness(GOLD, NO_CALL) == -3.0


@pytest.mark.parametrize(
    "text",
    [
        BUY,
        f"<tool_call>\n{BUY}",
        f"{BUY}\n</tool_call>",
        f"Sure: {BUY}. Done!",
        f"[{BUY}]",
        f'{{"tool_calls": [{BUY}]}}',
        json.dumps(json.loads(BUY), indent=2),
        f"not json }}{{ {BUY}",
        f'{{"broken": {BUY}',
        f"<think> I could {line('sell')} </think> {BUY}",
        f"{line('sell')} was a thought </think> {BUY}",  # the prompt ended with <think>
        f"{BUY} <response> I did not {line('sell')} </response>",
        f"<response> wait </response> <tool_call> {BUY} </tool_call>",
        f"<think> <tool_call> {line('sell')} </tool_call> </think> {GOLD}",
        f"<tool_call> nonsense \n{BUY}\n null </tool_call>",
        BUY[:-1] + ', "id": 4}',
    ],
)
def test_calls_are_found_in_any_form(text: str) -> None:
    assert correctness(text, GOLD) == 3.0
    assert correctness(text, GOLD, lenient=False) == -3.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "buy 7 pears",
        "{'name': 'buy', 'parameters': {'count': 7, 'item': 'pears'}}",
        BUY[:-1],
        BUY.replace("7", "NaN"),
        f"<think> {BUY} </think>",
        f"<think> {BUY}",
        f"{BUY} </think>",
        f"<response> {BUY} </response>",
        BUY.replace('"buy"', "5"),
        BUY.replace('"buy"', '""'),
    ],
)
def test_what_is_no_call(text: str) -> None:
    assert correctness(text, GOLD) == -3.0


@pytest.mark.parametrize("parameters", ["null", "[1]", '"x"'])
def test_parameters_that_are_no_object_count_as_none(parameters: str) -> None:
    bare = 6 * 1 / 4 - 3
    assert correctness(f'{{"name": "buy", "parameters": {parameters}}}', GOLD) == bare
    assert correctness(BUY.replace("parameters", "arguments"), GOLD) == bare


@pytest.mark.parametrize("between", ["\n", "\n<response> One. </response>\n", " and \n", "\n<think> next </think>\n"])
def test_the_calls_of_several_blocks_count_together(between: str) -> None:
    first, second = (f"<tool_call>\n{call}\n</tool_call>" for call in (line("a", x=1), line("b", y=2)))
    assert correctness(f"<think> hm </think>\n{first}{between}{second}", TWO) == 3.0
    assert correctness(f"{first}{between}{first}", TWO) == pytest.approx(6 * (1 / 2 + 1 + 1) / 5 - 3)


def test_junk_between_the_calls_does_not_hide_them() -> None:
    junk = ["", "```json", "null", "[]", '{"note": "no call"}', '{"name": "a", "parameters"', "}", "// done"]
    assert correctness(block(*junk[:4], line("a", x=1), *junk[4:], line("b", y=2), *junk), TWO) == 3.0


def test_an_object_within_a_call_is_a_value_and_no_call() -> None:
    gold = block(line("schedule", call={"name": "buy", "parameters": {"count": 7}}, text=BUY))
    assert correctness(gold, gold) == 3.0
    assert correctness(BUY, gold) == -3.0


def test_strict_reading_asks_for_the_form_but_not_for_the_thinking() -> None:
    unthinking = f"<tool_call>\n{BUY}\n</tool_call>"
    assert correctness(unthinking, GOLD, lenient=False) == 3.0
    assert correctness("Which item?", NO_CALL, lenient=False) == -3.0
    assert correctness("<response> Which? </response>", NO_CALL, lenient=False) == 3.0


@pytest.mark.parametrize(
    ("gold", "given", "equal"),
    [
        (5, 5.0, True),
        (1, True, False),
        (0, False, False),
        (None, False, False),
        (None, None, True),
        ("5", 5, False),
        ("", None, False),
        ([1, 2], [2, 1], False),
        ([1, 2], [1, 2], True),
        ([1], [1, 1], False),
        ({"a": [{"b": 1}], "c": 2}, {"c": 2, "a": [{"b": 1.0}]}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"b": 1}, False),
        ({}, [], False),
        ("caf\u00e9", "cafe\u0301", True),  # composed and decomposed
        ({"caf\u00e9": 1}, {"cafe\u0301": 1}, True),
        ("\u65e5\u672c", "\u65e5\u672c", True),
        ("Pears", "pears", False),
        (2**60, 2**60 + 1, False),
    ],
)
@pytest.mark.parametrize("escaped", [True, False])
def test_values_compare_as_json(gold: Any, given: Any, equal: bool, escaped: bool) -> None:
    reference = block(line("f", x=gold))
    answer = json.dumps({"name": "f", "parameters": {"x": given}}, ensure_ascii=escaped)
    assert correctness(answer, reference) == (3.0 if equal else 6 * 2 / 3 - 3)


def test_names_compare_in_normal_form() -> None:
    assert correctness(block(line("cafe\u0301", né=1)), block(line("caf\u00e9", né=1))) == 3.0


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "f", "parameters": ' * 3000,
        "[" * 100_000,
        '{"name": "buy", "parameters": {"count": ' + "9" * 10_000 + "}}",
        '{"name": "buy", "parameters": {"count": 1e999}}',
        '{"name": "\\ud800", "parameters": {"\\udfff": "\\ud83d"}}',
    ],
)
def test_hostile_texts_are_wrong_and_not_errors(text: str) -> None:
    assert -3.0 <= correctness(text, GOLD) < 3.0


def test_values_nested_as_deep_as_json_reads_them_compare() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep, {"x": deep}] if isinstance(deep, int) else [deep]
    assert correctness(line("f", x=deep), block(line("f", x=deep))) == 3.0


def test_an_unreadable_reference_answer_is_an_error_and_not_a_score() -> None:
    with pytest.raises(DataError, match="the reference answer must be"):
        correctness(BUY, BUY)


# Laws ----------------------------------------------------------------------------------------------------------------

names = st.sampled_from(["f", "g", "caf\u00e9"])
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0]) | st.text(max_size=3)
lists_of_scalars = st.lists(scalars, max_size=2)
objects = st.dictionaries(st.sampled_from("xyz"), scalars | lists_of_scalars, max_size=2)
values = scalars | lists_of_scalars | objects
calls = st.builds(
    lambda name, parameters: {"name": name, "parameters": parameters},
    names,
    st.dictionaries(st.sampled_from("abcd"), values, max_size=3),
)
call_lists = st.lists(calls, max_size=4)
golds = st.lists(calls, min_size=1, max_size=4)


def written(calls: list[dict[str, Any]]) -> str:
    return block(*map(json.dumps, calls)) if calls else NO_CALL


@given(call_lists, call_lists)
def test_scores_stay_in_bounds(predicted: list[Any], gold: list[Any]) -> None:
    assert -3.0 <= correctness(written(predicted), written(gold)) <= 3.0


@given(call_lists)
def test_the_gold_answer_scores_3(gold: list[Any]) -> None:
    assert correctness(written(gold), written(gold)) == 3.0
    assert correctness(written(gold), written(gold), lenient=False) == 3.0


@given(golds, call_lists, st.randoms(use_true_random=False))
def test_the_order_of_calls_does_not_count(gold: list[Any], predicted: list[Any], random: Any) -> None:
    expected = correctness(written(predicted), written(gold))
    random.shuffle(gold)
    random.shuffle(predicted)
    assert correctness(written(predicted), written(gold)) == pytest.approx(expected, abs=1e-12)


@given(golds, golds, values, st.integers(0, 3))
def test_a_parameter_that_no_gold_call_has_never_helps(
    gold: list[Any], predicted: list[Any], value: Any, at: int
) -> None:
    before = correctness(written(predicted), written(gold))
    predicted[at % len(predicted)]["parameters"]["unknown"] = value
    assert correctness(written(predicted), written(gold)) <= before + 1e-12


@given(golds, call_lists)
def test_a_call_of_a_tool_that_is_not_wanted_never_helps(gold: list[Any], predicted: list[Any]) -> None:
    before = correctness(written(predicted), written(gold))
    wrong = {"name": "unwanted", "parameters": {"a": 1}}
    assert correctness(written([*predicted, wrong]), written(gold)) <= before + 1e-12


@given(golds, st.integers(0, 3))
def test_leaving_out_a_gold_call_costs(gold: list[Any], at: int) -> None:
    predicted = [call for index, call in enumerate(gold) if index != at % len(gold)]
    assert correctness(written(predicted), written(gold)) < 3.0


@given(golds, call_lists, st.sampled_from(["{}", "<tool_call>\n{}", "{}\n</tool_call>", "So: {} !"]))
def test_correctness_does_not_pay_for_the_form(gold: list[Any], predicted: list[Any], form: str) -> None:
    bare = form.replace("{}", "\n".join(map(json.dumps, predicted)))
    assert correctness(bare, written(gold)) == correctness(written(predicted), written(gold))


PIECES = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<response>", "</response>", BUY, BUY[:20], BUY[20:]]
texts = st.lists(st.sampled_from([*PIECES, "{", "}", '"', "\n"]) | st.text(max_size=6), max_size=12).map("".join)


@given(texts, st.sampled_from([GOLD, TWO, NO_CALL]), st.booleans())
def test_no_text_is_an_error(text: str, gold: str, lenient: bool) -> None:
    assert -3.0 <= correctness(text, gold, lenient=lenient) <= 3.0
