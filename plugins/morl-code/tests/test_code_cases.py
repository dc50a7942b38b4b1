"""The column of cases, which any data set may bring."""

from __future__ import annotations

from typing import Any

import pytest

from morl.errors import DataError
from morl_code.cases import read_cases
from morl_code.judge import FunctionTest, StdioTest


def test_both_forms_are_read() -> None:
    cases = [{"code": "assert f(1) == 2"}, {"stdin": "1\n", "stdout": "2\n"}]
    assert read_cases(cases) == (FunctionTest("assert f(1) == 2"), StdioTest("1\n", "2\n"))


def test_nulls_of_columnar_files_do_not_matter() -> None:
    cases = [
        {"code": "assert f(1) == 2", "stdin": None, "stdout": None},
        {"code": None, "stdin": "", "stdout": ""},
    ]
    assert read_cases(cases) == (FunctionTest("assert f(1) == 2"), StdioTest("", ""))


@pytest.mark.parametrize("value", [[], None, "assert f(1) == 2", {"code": "assert f(1) == 2"}])
def test_a_row_without_cases_is_an_error(value: Any) -> None:
    with pytest.raises(DataError, match="column 'tests' must be a list of at least one case"):
        read_cases(value)


@pytest.mark.parametrize(
    "case",
    [
        "assert f(1) == 2",
        {},
        {"code": None},
        {"code": 1},
        {"stdin": "1"},
        {"code": "x", "stdin": "1", "stdout": "1"},
        {"code": "x", "weight": 2},
    ],
)
def test_a_case_of_another_form_is_an_error(case: Any) -> None:
    with pytest.raises(DataError, match=r"column 'tests', case 1 must be .* and nothing else; got"):
        read_cases([{"code": "assert f(1) == 2"}, case])
