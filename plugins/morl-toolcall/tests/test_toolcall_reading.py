"""Lenient reading: what counts as a call, in which forms, and that it takes linear time on any text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl_toolcall import correctness, format_score
from morl_toolcall.calls import call_forms
from morl_toolcall.json_text import MAX_DEPTH, decode, decode_any, scan
from morl_toolcall.parsing import parse
from morl_toolcall.reading import find_calls, read
from morl_toolcall.values import Tolerance

BUY = '{"name": "buy", "parameters": {"count": 7, "item": "pears"}}'
GOLD = f"<tool_call>\n{BUY}\n</tool_call>"
ALL_FORMS = call_forms(["arguments", "json-text", "function-tags"])


def names(text: str) -> list[str]:
    return [call.name for call in find_calls(text)]


@pytest.mark.parametrize(
    "text",
    [
        '{"broken {"name": "f"}',
        '{{"name": "f"}}',
        '{"a": {"name": "f"}, oops',
        '{"a": [1, {"name": "f"}, oops',
        '{"a": [{"b": {"name": "f"}}, oops',
        '{"broken\n{"name": "f"}',
        '{"bad \\escape {"name": "f"}',
        '{"bad \\u12 {"name": "f"}',
        '{"a" {"name": "f"}',
        '{"a": 01, "b": {"name": "f"}',
        '[{"name": "f"}, {"name": ',
        '{"note": "a <think> in a string", "call": {"name": "f"}}',
        '{"note": {"a": 1}, "calls": [[{"name": "f"}]]}',
        '{"name": 5, "call": {"name": "f"}}',
        "{" * 50 + '{"name": "f"}',
        '{"a":[' * (MAX_DEPTH + 5) + '{"name": "f"}',
        '{"x": 1}} ]] {"name": "f"}',
        '{"long": ' + "9" * 5000 + ', "call": {"name": "f"}}',
    ],
)
def test_a_call_is_found_amid_broken_json(text: str) -> None:
    assert names(text) == ["f"]


def test_tags_within_broken_json_still_count() -> None:
    assert names('{"name": "f"} {"oops</think> {"name": "g"}') == ["g"]
    assert names('{"oops <think> {"name": "f"} </think> {"name": "g"}') == ["g"]
    assert names('{"a": {"name": "f"}, <response> {"name": "g"} </response> {"name": "h"}') == ["f", "h"]
    assert names('{"oops <think> {"name": "f"}') == []


def test_tags_within_json_are_text() -> None:
    assert names('{"name": "f", "parameters": {"a": "</think> <response>"}} {"name": "g"}') == ["f", "g"]


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=15)
objects = st.dictionaries(st.text(), values, max_size=4)


@given(objects, st.sampled_from([None, 2]), st.booleans(), st.text(alphabet='{}[]",: a\\\n', max_size=5))
def test_json_is_read_as_the_library_reads_it(value: Any, indent: int | None, ascii_only: bool, behind: str) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    found = scan(text + behind, 0)
    assert found.whole
    assert found.spans == ((0, len(text)),)
    assert decode(text) == json.loads(text)


@given(st.text(alphabet='{}[]",:-01eE.ntfalsru\\ \n', max_size=25).map("{".__add__))
def test_what_is_no_json_is_refused_as_the_library_refuses_it(text: str) -> None:
    try:
        end = json.JSONDecoder(parse_constant=pytest.fail).raw_decode(text)[1]
    except ValueError:
        end = None
    found = scan(text, 0)
    assert found.whole == (end is not None)
    assert end is None or found.resume == end
    assert found.resume > 0


def test_a_value_by_itself() -> None:
    assert [decode_any(text) for text in ("7", '"a"', "null", "[1]", "1, 2", "", "1],[2", "x")] == [
        7,
        "a",
        None,
        [1],
        "1, 2",
        "",
        "1],[2",
        "x",
    ]


# Work ----------------------------------------------------------------------------------------------------------------

HOSTILE = [
    '{"a":[',
    '{"a":{',
    "{",
    "[",
    '{"',
    '{"a":"',
    '{"\\"',
    "{ ",
    '{"a":1,',
    '{"{',
    '":{',
    '{"a":"<think>",',
    '{"a</think>":[',
    "</think>{",
    "<tool_call>",
    "<tool_call>{",
    "<response></response>{",
    "<think></think>",
    "<think>",
    "<function=f>",
    "<function=f><parameter=a>",
    "<function=f><parameter=a>1</parameter>",
    "<function=f>{",
    "<function=",
    "<parameter=",
    '"',
    "\\",
    " ",
    "9",
    '{"name":"f","parameters":{"a":1',
    '{"name":"f","parameters":{"a":"{',
]


def work(text: str) -> int:
    return read(text, ALL_FORMS).examined


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("tail", ["", "]" * 5000, "{}," * 5000, '"', '{"a":' + " " * 5000, "</parameter>", "}" * 3000])
def test_reading_takes_linear_time(unit: str, tail: str) -> None:
    # 32,000 units took minutes where every brace was tried by itself.
    for count in (1000, 4000):
        text = unit * count + tail
        assert work(text) <= 6 * len(text) + 100


@given(st.lists(st.sampled_from([*HOSTILE, BUY, "}", "]", ",", ":", '"', "\n", "</function>"]), max_size=60))
def test_the_work_is_bounded_for_any_text(pieces: list[str]) -> None:
    text = "".join(pieces) * 3
    assert work(text) <= 6 * len(text) + 100


@pytest.mark.parametrize("unit", HOSTILE)
def test_no_hostile_text_is_an_error_or_right(unit: str) -> None:
    text = unit * 2000
    assert -3.0 <= correctness(text, GOLD, forms=ALL_FORMS) < 3.0
    assert format_score(text, GOLD, forms=ALL_FORMS) == 0.0


def test_many_calls_are_compared_with_the_gold_calls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    same = Tolerance.same

    def counted(self: Tolerance, left: object, right: object) -> bool:
        nonlocal compared
        compared += 1
        return same(self, left, right)

    monkeypatch.setattr(Tolerance, "same", counted)
    assert correctness(BUY * 2000, GOLD) == pytest.approx(6 / 2000 - 3)
    assert compared == 2 * 2000


# Forms ---------------------------------------------------------------------------------------------------------------

WRITTEN = {
    "arguments": ['{"name": "buy", "arguments": {"count": 7, "item": "pears"}}'],
    "json-text": ['{"name": "buy", "parameters": "{\\"count\\": 7, \\"item\\": \\"pears\\"}"}'],
    "function-tags": [
        "<function=buy><parameter=count>7</parameter><parameter=item>pears</parameter></function>",
        "<function=buy>\n<parameter=count>\n7\n</parameter>\n<parameter=item>\npears\n</parameter>\n</function>",
        '<function=buy>{"count": 7, "item": "pears"}</function>',
    ],
}


@pytest.mark.parametrize(("form", "call"), [(form, call) for form, calls in WRITTEN.items() for call in calls])
def test_other_forms_are_read_where_the_config_says_so(form: Any, call: str) -> None:
    forms = call_forms([form])
    text = f"<tool_call>\n{call}\n</tool_call>"
    for answer in (text, call, f"<think> hm </think> so {call}"):
        assert correctness(answer, GOLD, forms=forms) == 3.0
        assert correctness(answer, GOLD) < 3.0
    assert format_score(text, GOLD, think=False, forms=forms) == 1.0
    assert correctness(text, GOLD, forms=forms, lenient=False) == 3.0
    assert format_score(text, GOLD, think=False) == 0.0
    assert correctness(text, text, forms=forms) == 3.0  # a reference answer in this form
    assert correctness(f"{call}{call}", GOLD, forms=forms) == 0.0


def test_forms_combine_as_openai_writes_calls() -> None:
    call = '{"type": "function", "function": {"name": "buy", "arguments": "{\\"count\\": 7, \\"item\\": \\"pears\\"}"}}'
    assert correctness(call, GOLD, forms=call_forms(["arguments", "json-text"])) == 3.0


def test_parameters_win_over_arguments() -> None:
    call = '{"name": "buy", "parameters": {"count": 7, "item": "pears"}, "arguments": {}}'
    assert correctness(call, GOLD, forms=ALL_FORMS) == 3.0


@pytest.mark.parametrize(
    ("wanted", "written", "equal"),
    [
        ("7", "7", True),
        (7, "7", True),
        (7.0, "7", True),
        (True, "true", True),
        (None, "null", True),
        ([1, "a"], '[1, "a"]', True),
        ({"x": 1}, '{"x": 1}', True),
        ("a b", "a b", True),
        ("a", '"a"', False),
        (7, "seven", False),
        (7, "8", False),
    ],
)
def test_a_value_in_tags_has_the_type_of_the_gold_value(wanted: Any, written: str, equal: bool) -> None:
    gold = f"<tool_call>\n{json.dumps({'name': 'f', 'parameters': {'x': wanted}})}\n</tool_call>"
    text = f"<function=f><parameter=x>{written}</parameter></function>"
    assert (correctness(text, gold, forms=ALL_FORMS) == 3.0) == equal


@pytest.mark.parametrize(
    "text",
    [
        "<function=buy><parameter=count>7</parameter>",
        "<function=buy><parameter=count>7</function>",
        "<function=buy>count 7</function>",
        "<function=buy><parameter=count>7<parameter=item>pears</parameter></function>",
        "<function=buy></parameter></function>",
        '<function=buy>{"count": 7</function>',
        "<function=>{}</function>",
    ],
)
def test_broken_tags_are_no_call(text: str) -> None:
    assert find_calls(text, ALL_FORMS) == ()
    assert parse(f"<tool_call>\n{text}\n</tool_call>", ALL_FORMS) is None


# Tolerance -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tolerate", "left", "right"),
    [
        ("case", "Rome", "ROME"),
        ("case", "straße", "STRASSE"),
        ("space", " a  b\n", "a b"),
        ("json-text", "5", 5),
        ("json-text", 5.0, " 5 "),
        ("json-text", "true", True),
        ("json-text", "null", None),
        ("json-text", '["a", {"b": 1}]', ["a", {"b": 1}]),
        ("json-text", ["5"], [5]),
    ],
)
def test_tolerance_takes_one_difference_away(tolerate: Any, left: Any, right: Any) -> None:
    tolerant = Tolerance((tolerate,))
    assert tolerant.same(left, right)
    assert tolerant.same(right, left)
    assert tolerant.same({"x": [left]}, {"x": [right]})
    assert not Tolerance().same(left, right)
    assert not any(
        Tolerance((other,)).same(left, right) for other in ("case", "space", "json-text") if other != tolerate
    )


@pytest.mark.parametrize(
    ("left", "right"), [("5", "5.0"), ("Yes", True), ("a", "b"), (1, True), ("", None), ("[1]", [3])]
)
def test_what_no_tolerance_makes_equal(left: Any, right: Any) -> None:
    assert not Tolerance(("case", "space", "json-text"), 0.5).same(left, right)


def test_numbers_within_a_share_of_the_larger() -> None:
    near = Tolerance(number_error=0.25)
    assert near.same(3, 4)
    assert near.same(-4.0, -3)
    assert near.same(10**400, 10**400 + 1)
    assert near.same(0, 0.0)
    for left, right in ((3, 4.01), (0, 1e-9), (1, -1), (1, float("inf")), (1, True), ("3", 4)):
        assert not near.same(left, right)


def test_tolerance_reaches_the_score() -> None:
    text = '{"name": "buy", "parameters": {"count": "7", "item": "PEARS"}}'
    assert correctness(text, GOLD) == 0.0
    assert correctness(text, GOLD, tolerance=Tolerance(("case", "json-text"))) == 3.0
