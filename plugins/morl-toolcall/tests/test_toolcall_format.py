"""The paper variant of the format reward: a truth table and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.errors import DataError
from morl_toolcall import format_score

CALL = '{"name": "add", "parameters": {"a": 1}}'
OTHER = '{"name": "now", "parameters": {}}'
THINK = "<think> Let me add. </think>\n"
CALLS = f"<tool_call>\n{CALL}\n</tool_call>"
RESPONSE = "<response> Done. </response>"


@pytest.mark.parametrize("gold", [CALLS, RESPONSE, f"{CALLS}\n{RESPONSE}"])
def test_a_gold_answer_is_in_form_and_no_other_fields_will_do(gold: str) -> None:
    for answer in (CALLS, RESPONSE, f"{CALLS}\n{RESPONSE}"):
        assert format_score(THINK + answer, THINK + gold) == float(answer == gold)


@pytest.mark.parametrize(
    "text",
    [
        THINK + CALLS,
        THINK + CALLS + "\n \n",
        "\n" + THINK + CALLS,
        THINK.strip() + CALLS,
        f"{THINK}<tool_call> {CALL} </tool_call>",
        f"{THINK}<tool_call>\n{OTHER}\n\n{CALL}\n</tool_call>",
        f"<think> A <tool_call> and a <response> come later. </think>\n{CALLS}",
        f"<think></think>{CALLS}",
        f'{THINK}<tool_call>\n{{"name": "add", "parameters": {{"a": "</tool_call>"}}}}\n</tool_call>',
    ],
)
def test_in_form(text: str) -> None:
    assert format_score(text, CALLS) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "add 1",
        CALLS,  # no thinking
        THINK,
        CALLS + "\n" + THINK,  # the wrong order
        THINK + THINK + CALLS,  # two thoughts
        f"<think> <think> </think>\n{CALLS}",
        f"<think> no end {CALLS}",
        f"Sure! {THINK}{CALLS}",  # junk before, between and after
        f"{THINK}so {CALLS}",
        f"{THINK}{CALLS} done",
        THINK + CALLS + CALLS,  # two blocks
        THINK + CALL,  # no tags
        f"{THINK}<tool_call>\n{CALL}",  # one tag
        f"{THINK}{CALL}\n</tool_call>",
        f"{THINK}<tool_call>\n</tool_call>",  # no call
        f"{THINK}<tool_call>\n[{CALL}]\n</tool_call>",
        f"{THINK}<tool_call>\n{CALL} {OTHER}\n</tool_call>",  # two calls on a line
        f"{THINK}<tool_call>\n{CALL},\n{OTHER}\n</tool_call>",
        THINK + '<tool_call>\n{"name": "add",\n "parameters": {}}\n</tool_call>',  # one call on two lines
        THINK + '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>',
        THINK + '<tool_call>\n{"name": "add", "parameters": {}, "id": 1}\n</tool_call>',
        THINK + '<tool_call>\n{"name": "add", "parameters": [1]}\n</tool_call>',
        THINK + '<tool_call>\n{"name": "", "parameters": {}}\n</tool_call>',
        THINK + '<tool_call>\n{"name": "add", "parameters": {"a": NaN}}\n</tool_call>',
        THINK + "<tool_call>\n{'name': 'add', 'parameters': {}}\n</tool_call>",
    ],
)
def test_out_of_form(text: str) -> None:
    assert format_score(text, CALLS) == 0.0


@pytest.mark.parametrize("response", ["<response> </response> </response>", "<response> <tool_call> </response>"])
def test_a_response_holds_no_tags(response: str) -> None:
    assert format_score(THINK + response, RESPONSE) == 0.0


def test_without_think_the_thinking_is_free() -> None:
    assert format_score(CALLS, CALLS, think=False) == 1.0
    assert format_score(THINK + CALLS, CALLS, think=False) == 1.0
    assert format_score("<think> " + CALLS, CALLS, think=False) == 0.0


@pytest.mark.parametrize("gold", ["", "hello", "<tool_call>\nadd(1)\n</tool_call>", "<think> only </think>", None, 3])
def test_an_unreadable_reference_answer_is_an_error_and_not_a_score(gold: object) -> None:
    with pytest.raises(DataError, match=r"the reference answer must be .*; got "):
        format_score(CALLS, gold)  # type: ignore[arg-type]


TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<response>", "</response>", CALL, "\n", " ", "{", "}"]
texts = st.lists(st.sampled_from(TAGS) | st.text(max_size=5), max_size=12).map("".join)


@given(texts)
def test_any_text_gets_0_or_1_and_1_only_with_the_call_between_its_tags(text: str) -> None:
    score = format_score(text, CALLS, think=False)
    assert score in (0.0, 1.0)
    if score:
        assert text.count("<tool_call>") >= 1
        assert text.rstrip().endswith("</tool_call>")


@given(texts)
def test_demanding_the_thinking_only_takes_away(text: str) -> None:
    assert format_score(text, CALLS, think=True) <= format_score(text, CALLS, think=False)
