"""The released behaviour: what it shares with the paper, and each of its departures."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.errors import DataError
from morl_toolcall import grading, paper, toolrl


def line(name: str, **parameters: Any) -> str:
    return json.dumps({"name": name, "parameters": parameters})


def block(*lines: str) -> str:
    return "<think> hm </think>\n<tool_call>\n" + "\n".join(lines) + "\n</tool_call>"


GOLD = block(line("f", a=1))
NO_CALL = "<think> hm </think>\n<response> Hello. </response>"
BOTH = GOLD + "\n<response> Hello. </response>"


@pytest.mark.parametrize("gold", [GOLD, NO_CALL, BOTH])
def test_gold_answers_are_in_form_and_the_fields_must_agree(gold: str) -> None:
    for text in (GOLD, NO_CALL, BOTH):
        assert toolrl.format_score(text, gold) == float(text == gold)


@pytest.mark.parametrize(
    "text",
    [
        GOLD.replace("</think>\n", "</think>"),
        GOLD.replace("<tool_call>\n", "<tool_call> "),
        "So " + GOLD,
        GOLD + " so",
        GOLD + "\n<tool_call>\n</tool_call>",
        GOLD.replace("hm", "a <tool_call> it is"),
        GOLD.removeprefix("<think> hm </think>\n"),
        "",
    ],
)
def test_out_of_form(text: str) -> None:
    assert toolrl.format_score(text, GOLD) == 0.0


def test_the_form_does_not_look_at_the_json_or_at_repeated_thoughts() -> None:
    for text in (block("nonsense"), "<think> 1 </think> <think> 2 </think>" + GOLD.removeprefix("<think> hm </think>")):
        assert toolrl.format_score(text, GOLD) == 1.0
        assert paper.format_score(text, GOLD) == 0.0


def test_a_reference_answer_without_tags_asks_for_the_thinking_alone() -> None:
    assert toolrl.format_score("<think> hm </think>", "42") == 1.0
    assert toolrl.format_score("42", "42") == 0.0


def test_names_are_compared_with_their_counts() -> None:
    twice = block(line("f", a=1), line("f", a=1))
    assert paper.correctness(twice, GOLD) == 3.0
    assert toolrl.correctness(twice, GOLD) == pytest.approx(6 * (1 / 2 + 1 + 1) / 3 - 3)
    more = block(line("f", a=1), line("f", a=1), line("g"))
    assert toolrl.correctness(twice, more) == pytest.approx(6 * (2 / 3 + 2 + 2) / 6 - 3)


def test_the_matching_takes_gold_calls_in_turn() -> None:
    gold = block(line("f", a=1), line("f", a=1, b=2))
    text = block(line("f", a=1, b=2), line("f", c=1))
    # The first gold call takes the call that the second one fits: 1/2 + 1, and nothing is left for the other.
    assert toolrl.correctness(text, gold) == pytest.approx(6 * (1 + 1 / 2 + 1) / 6 - 3)
    assert paper.correctness(text, gold) == pytest.approx(6 * (1 + 0 + 3) / 6 - 3)


def test_of_calls_that_fit_as_well_the_matching_takes_the_first() -> None:
    gold = block(line("f", a=1), line("f", a=1, c=3))
    text = block(line("f", a=1, c=3), line("f", a=1, d=4))
    # Either fits the first gold call by 1/2 + 1; what is left for the second fits it by 1/3 + 1.
    assert toolrl.correctness(text, gold) == pytest.approx(6 * (1 + 3 / 2 + 4 / 3) / 6 - 3)


def test_where_no_call_is_expected_the_score_is_0_whatever_was_called() -> None:
    assert toolrl.correctness(NO_CALL, NO_CALL) == toolrl.correctness(GOLD, NO_CALL) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        line("f", a=1),
        GOLD.removesuffix("</tool_call>"),
        block(line("f", a=1), "", line("g")),
        block("[" + line("f", a=1) + "]"),
        block(json.dumps({"name": "f", "arguments": {"a": 1}})),
        block(json.dumps({"name": "f", "parameters": None})),
        block(json.dumps({"name": ["f"], "parameters": {}})),
        block("[" * 100_000),
        "<think> a <tool_call> it is </think>\n" + GOLD,
    ],
)
def test_one_unreadable_line_costs_everything(text: str) -> None:
    assert toolrl.correctness(text, GOLD) == -3.0


def test_a_call_that_matches_nothing_is_not_looked_into() -> None:
    text = block(line("f", a=1), '{"name": "g", "arguments": 5}')
    assert toolrl.correctness(text, GOLD) == pytest.approx(6 * (1 / 2 + 2) / 3 - 3)


def test_only_the_first_block_counts() -> None:
    assert toolrl.correctness(GOLD + block(line("g")), GOLD) == 3.0


@pytest.mark.parametrize(("given", "equal"), [(1.0, True), (True, True), ("1", False)])
def test_values_compare_as_python_does(given: Any, equal: bool) -> None:
    assert toolrl.correctness(block(line("f", a=given)), GOLD) == (3.0 if equal else 6 * 2 / 3 - 3)


@pytest.mark.parametrize(("wanted", "given"), [("caf\u00e9", "cafe\u0301"), ([1, 2], [2, 1]), ("5", 5)])
def test_texts_are_not_normalized_and_lists_are_ordered(wanted: Any, given: Any) -> None:
    gold = block(line("f", a=wanted))
    assert toolrl.correctness(gold, gold) == 3.0
    assert toolrl.correctness(block(line("f", a=given)), gold) == 6 * 2 / 3 - 3


def test_a_tag_that_the_references_thinking_mentions_is_asked_for() -> None:
    gold = GOLD.replace("hm", "no <response> yet")
    assert toolrl.format_score(GOLD, gold) == 0.0
    assert paper.format_score(GOLD, gold) == 1.0


@pytest.mark.parametrize("gold", ["<think> a <tool_call> </think>\n" + GOLD, block("f(1)"), block('{"name": "f"}')])
def test_a_reference_answer_that_it_cannot_read_is_an_error(gold: str) -> None:
    with pytest.raises(DataError, match="the reference answer cannot be read as ToolRL reads it"):
        toolrl.correctness(GOLD, gold)


calls = st.builds(
    lambda name, parameters: line(name, **parameters),
    st.sampled_from("fg"),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3),
)


@given(st.lists(calls, min_size=1, max_size=4), st.lists(calls, min_size=1, max_size=4))
def test_the_released_code_never_scores_above_the_paper(predicted: list[str], gold: list[str]) -> None:
    # Multisets of names overlap at most as well as sets do where each name is called once; matching in turn is never
    # better than the best matching.  Twice-called tools are left out: there multisets can be the more generous ones.
    predicted = list({json.loads(call)["name"]: call for call in predicted}.values())
    gold = list({json.loads(call)["name"]: call for call in gold}.values())
    text, reference = block(*predicted), block(*gold)
    assert toolrl.correctness(text, reference) <= paper.correctness(text, reference) + 1e-12


@given(
    st.text(max_size=40) | st.lists(st.sampled_from(["<tool_call>", "</tool_call>", "\n", "{", "}", "1"])).map("".join)
)
def test_no_text_is_an_error(text: str) -> None:
    assert toolrl.format_score(text, GOLD) in (0.0, 1.0)
    assert -3.0 <= toolrl.correctness(text, GOLD) <= 3.0


# Chat markers, and calls where none should be -------------------------------------------------------------------------


def chat(answer: str) -> str:
    return f"<|im_start|>user\n<tool_call> what? <|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n<tool_call>"


def test_the_answer_is_cut_out_of_qwens_chat() -> None:
    assert toolrl.correctness(chat(GOLD), GOLD) == 3.0
    assert toolrl.format_score(chat(GOLD), GOLD) == 1.0
    assert toolrl.correctness(chat(GOLD), GOLD, chat_markers="keep") == -3.0
    assert toolrl.format_score(chat(GOLD), GOLD, chat_markers="llama") == 0.0


def test_the_answer_is_cut_out_of_llamas_chat() -> None:
    text = f"<|start_header_id|>assistant<|end_header_id|>\n\n{GOLD}<|eot_id|>more"
    assert (
        toolrl.correctness(text, GOLD, chat_markers="llama")
        == toolrl.format_score(text, GOLD, chat_markers="llama") * 3
    )
    assert toolrl.format_score(text, GOLD) == 0.0


def test_only_the_last_turn_counts_and_what_follows_its_end_does_not() -> None:
    assert toolrl.correctness(f"{GOLD}<|im_start|>assistant\nnothing", GOLD) == -3.0
    assert toolrl.correctness(f"nothing<|im_end|>{GOLD}", GOLD) == -3.0
    assert toolrl.correctness(f"<|im_end|><|im_start|>assistant{GOLD}", GOLD) == 3.0


@pytest.mark.parametrize("tag", ["think", "response"])
def test_a_call_in_the_thinking_or_the_response_counts_as_it_does_in_the_released_code(tag: str) -> None:
    hidden = f"<{tag}> {GOLD.removeprefix('<think> hm </think>')} </{tag}>"
    assert toolrl.correctness(hidden, GOLD) == 3.0
    assert paper.correctness(hidden, GOLD) == grading.correctness(hidden, GOLD) == -3.0
    assert toolrl.format_score(hidden, GOLD) == 0.0


def test_surplus_calls_of_the_first_block() -> None:
    assert toolrl.surplus(block(line("f"), line("f"), line("g")), GOLD) == 2
    assert toolrl.surplus(GOLD, NO_CALL) == 1
    for unreadable in ("", block("nonsense"), block('{"name": []}'), GOLD.removesuffix("</tool_call>")):
        assert toolrl.surplus(unreadable, GOLD) == 0


def test_scores_are_rounded_once() -> None:
    five = block(*(line("f", a=n, b=n, c=n) for n in range(3)))
    scored = toolrl.correctness(block(line("f", a=0, d=1, e=2)), five)
    exact = 6 * (Fraction(1, 3) + Fraction(1, 5) + 1) / 13 - 3
    assert scored == float(exact)
