"""How grades are read from answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.errors import ConfigError
from morl_judge.failures import JudgeError
from morl_judge.grade import Grade


@pytest.mark.parametrize(
    ("options", "text", "grade"),
    [
        ({"regex": "Grade: ([0-9.]+)"}, "Grade: 1 or rather\nGrade: 2.5", 2.5),
        ({"regex": "-?[0-9]+"}, "it is -3", -3),
        ({"json": "score"}, '{"score": 4}', 4),
        ({"json": "score"}, '```json\n{"score": "4.5", "why": "{"}\n```', 4.5),
        ({"json": "score"}, 'not {this}, {"score": 1}, no: {"score": 2} {"other": 3}', 2),
        ({"json": "a.b"}, '{"a": {"b": true}}', 1),
        ({"choice": {"A": 1, "B": 0}}, "A", 1),
        ({"choice": {"A": 1, "B": 0}}, "Both have merits: A is short.\n**B**.", 0),
        ({"choice": {"yes": 1, "no": 0}}, "I would say yes to that", 1),
        ({"choice": {"very good": 2, "bad": 0}}, "Very good!", 2),
        ({"choice": {"good": 1, "not good": 0}}, "not good", 0),
    ],
)
def test_a_grade_is_read(options: Any, text: str, grade: float) -> None:
    assert Grade(**options).read(text) == grade


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ({"regex": "Grade: ([0-9]+)"}, "", "nothing matches"),
        ({"regex": "Grade: (.*)"}, "Grade: ten", "'ten' is no number"),
        ({"regex": "Grade: (.*)"}, "Grade: nan", "nan is not between"),
        ({"regex": "Grade: (.*)"}, "Grade: inf", "inf is not between"),
        ({"regex": "Grade: ([0-9]+)?"}, "Grade: ", "None is no number"),
        ({"regex": "(a|aa)+$"}, "a" * 60 + "!", "no match within 1 s of processor time"),
        ({"json": "score"}, "4", "no JSON object has 'score'"),
        ({"json": "score"}, '{"score": [4]}', "is no number"),
        ({"json": "score"}, f'{{"score": 1{"0" * 400}}}', "is no number"),
        ({"json": "score"}, f'{{"score": 1{"0" * 5000}}}', "no JSON object has"),
        ({"regex": "[0-9]+"}, "9" * 400, "inf is not between"),
        ({"json": "score"}, '{"score": null}', "is no number"),
        ({"json": "a.b"}, '{"a": 1}', "no JSON object has 'a.b'"),
        ({"json": "score"}, '{"score": 4', "no JSON object has"),
        ({"json": "score"}, '{"a":[' * 50_000, "no JSON object has"),
        ({"choice": {"yes": 1, "no": 0}}, "yes and no", "it holds 2 of the choices"),
        ({"choice": {"yes": 1, "no": 0}}, "yesterday", "it holds 0 of the choices"),
        ({"regex": "[0-9]+", "low": 0, "high": 10}, "11", "11.0 is not between 0 and 10"),
    ],
)
def test_what_holds_no_grade_is_a_failure_and_never_a_number(options: Any, text: str, reason: str) -> None:
    with pytest.raises(JudgeError) as failure:
        Grade(**options).read(text)
    assert failure.value.kind == "grade"
    assert reason in str(failure.value)
    assert len(str(failure.value)) < 500


@given(st.text(max_size=60), st.sampled_from([{"regex": "[0-9]+"}, {"json": "a"}, {"choice": {"a": 1, "b": 0}}]))
def test_any_answer_is_a_number_or_a_failure(text: str, options: Any) -> None:
    read = Grade(**options).read_or_error(text)
    assert isinstance(read, float | JudgeError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "a grade is read in one way, regex, json, choice; got none"),
        ({"regex": "x", "json": "y"}, "got regex, json"),
        ({"regex": "("}, "regex is not a regular expression"),
        ({"json": "x", "low": 1, "high": 1}, "low must be below high"),
        ({"choice": {}}, "choice must be a mapping from words to numbers"),
        ({"choice": {" ": 1}}, "choice must be a mapping from words to numbers"),
    ],
)
def test_options_are_checked(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Grade(**options)
