"""Contest rows in the layouts of Eurus-2-RL, TACO and APPS as prompts and cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from morl.errors import ConfigError, DataError
from morl_code.calls import call_cases
from morl_code.contests import CodeContests

pytestmark = pytest.mark.usefixtures("own_datasets_cache")

STDIO = {"inputs": ["2 3\n", "0 0\n"], "outputs": ["5\n", "0\n"]}
CALLS = {"fn_name": "add", "inputs": [[2, 3], [0, 0]], "outputs": [[5], [0]]}


def eurus(tests: Any, ability: str = "code", **message: str) -> dict[str, Any]:
    """A row as the Eurus-2-RL data set lays them out."""
    question = message or {
        "role": "user",
        "content": (
            "Print the sum.\n\nWrite Python code to solve the problem. Present the code in \n"
            "```python\nYour code\n```\nat the end."
        ),
    }
    return {
        "data_source": "taco" if ability == "code" else "numina_olympiads",
        "prompt": [{"role": "system", "content": "Think in steps."}, question],
        "ability": ability,
        "reward_model": {"ground_truth": tests if isinstance(tests, str) else json.dumps(tests), "style": "rule"},
        "extra_info": {"index": 0, "split": "dummy"},
    }


def taco(tests: Any, starter_code: str = "") -> dict[str, Any]:
    """A row as TACO and APPS lay them out."""
    return {
        "question": "Print the sum.",
        "solutions": "[]",
        "starter_code": starter_code,
        "input_output": json.dumps(tests),
        "difficulty": "EASY",
    }


def write(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return str(path)


def test_standard_input_and_output_as_eurus_has_them(tmp_path: Path) -> None:
    (prompt,) = CodeContests(path=write(tmp_path, eurus(STDIO))).load()
    assert [message["role"] for message in prompt.content] == ["system", "user"]
    assert prompt.content[0]["content"] == "Think in steps."
    assert prompt.content[1]["content"].startswith("Print the sum.\n\nWrite Python code")
    assert prompt.columns == {
        "index": 0,
        "setup": "",
        "tests": [{"stdin": "2 3\n", "stdout": "5\n"}, {"stdin": "0 0\n", "stdout": "0\n"}],
        "names": [],
    }


@pytest.mark.parametrize("row", [eurus(CALLS), taco(CALLS)])
def test_calls_of_a_function(tmp_path: Path, row: dict[str, Any]) -> None:
    (prompt,) = CodeContests(path=write(tmp_path, row)).load()
    assert prompt.columns["tests"] == [
        {"code": "assert _as_json(add(2, 3)) in (5, [5])"},
        {"code": "assert _as_json(add(0, 0)) in (0, [0])"},
    ]
    assert prompt.columns["names"] == ["add", "Solution"]


def test_problems_of_taco_are_told_what_is_wanted(tmp_path: Path) -> None:
    (prompt,) = CodeContests(path=write(tmp_path, taco(STDIO))).load()
    assert "standard input" in prompt.content[0]["content"]
    (prompt,) = CodeContests(path=write(tmp_path, taco(CALLS, "class Solution:\n    def add(self, a, b):"))).load()
    text = prompt.content[0]["content"]
    assert "Write the function `add`" in text
    assert "def add(self, a, b):" in text


def test_tests_may_be_lists_of_lines(tmp_path: Path) -> None:
    (prompt,) = CodeContests(path=write(tmp_path, taco({"inputs": [["2", "3"]], "outputs": [["5", ""]]}))).load()
    assert prompt.columns["tests"] == [{"stdin": "2\n3", "stdout": "5\n"}]


def test_a_system_message_of_ones_own_or_none(tmp_path: Path) -> None:
    path = write(tmp_path, eurus(STDIO))
    assert CodeContests(path=path, system="Be brief.").load()[0].content[0]["content"] == "Be brief."
    assert [message["role"] for message in CodeContests(path=path, system="").load()[0].content] == ["user"]
    text = CodeContests(path=path, chat=False, template="Q: {question}\nA:").load()[0].content
    assert isinstance(text, str)
    assert text.startswith("Q: Print the sum.")


def test_rows_of_other_abilities_are_skipped_or_refused(tmp_path: Path) -> None:
    path = write(tmp_path, eurus("42", "math"), eurus(STDIO), eurus(STDIO, "coding"))
    assert [prompt.columns["index"] for prompt in CodeContests(path=path).load()] == [1, 2]
    with pytest.raises(DataError, match=r"row 0 of .* is of ability 'math', not code; skip such rows"):
        CodeContests(path=path, other_abilities="error").load()


def test_rows_are_parsed_when_they_are_asked_for(tmp_path: Path) -> None:
    prompts = CodeContests(path=write(tmp_path, *[eurus(STDIO)] * 5), limit=4).load()
    assert len(prompts) == 4
    assert [prompt.columns["index"] for prompt in prompts[1:3]] == [1, 2]
    assert prompts[-1].columns == prompts[3].columns


UNUSABLE = [
    (eurus(""), r"row 1 of .* has no tests in 'reward_model\.ground_truth' or 'input_output'"),
    (eurus("print(5)"), r"row 1 of .*: the tests are not JSON: .*they begin 'print\(5\)'"),
    (eurus({"inputs": [], "outputs": []}), "row 1 of .*: the tests must have 'inputs' and 'outputs', as many of each"),
    (eurus({"inputs": ["1"], "outputs": ["1", "2"]}), "the tests must have 'inputs' and 'outputs', as many of each"),
    (eurus("[1]"), "the tests must have 'inputs' and 'outputs'"),
    (
        eurus({"inputs": [[1]], "outputs": ["1"]}),
        r"a test without 'fn_name' must be texts, or lists of lines; got \[1\]",
    ),
    (eurus(CALLS | {"fn_name": "a b"}), "fn_name must be the name of a function; got 'a b'"),
    (eurus(CALLS | {"inputs": [1, 2]}), "row 1 of .*, test 0: arguments must be a list; got 1"),
    (eurus(CALLS | {"outputs": [1, float("nan")]}), "row 1 of .*, test 1: nan is no JSON"),
    (eurus(STDIO, role="assistant", content="5"), "row 1 of .*: the prompt must be one user message"),
    (eurus(STDIO) | {"prompt": [{"role": "user", "content": ""}]}, "row 1 of .* has no text in 'content'"),
]


@pytest.mark.parametrize(("row", "message"), UNUSABLE)
def test_a_row_that_cannot_be_used_is_refused_or_skipped(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = write(tmp_path, eurus(STDIO), row, eurus(STDIO))
    with pytest.raises(DataError, match=message):
        CodeContests(path=path).load()
    prompts = CodeContests(path=path, unusable="skip").load()
    assert [prompt.columns["index"] for prompt in prompts] == [0, 2]


def test_data_without_a_row_of_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no usable row of code; abilities: math"):
        CodeContests(path=write(tmp_path, eurus("42", "math"))).load()


@pytest.mark.parametrize("option", ["other_abilities", "unusable"])
def test_other_words_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} must be 'skip' or 'error'; got 'drop'"):
        CodeContests(**{option: "drop"})  # type: ignore[arg-type]


def holds(program: str, function: str, given: Any, expected: Any) -> bool:
    """Runs one case in this process: these programs are the test's own."""
    setup, (case,) = call_cases(function, [given], [expected], "row 0")
    names: dict[str, Any] = {}
    exec(program, names)
    exec(setup, names)
    try:
        exec(case["code"], names)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("body", "given", "expected", "right"),
    [
        ("x", [5], 5, True),
        ("x", [5], 6, False),
        ("x", [5], [5], True),
        ("[x]", [5], [5], True),
        ("[x]", [5], 5, False),
        ("(x, (x,))", [5], [5, [5]], True),
        ("{1: x}", [5], {"1": 5}, True),
        ("x[1]", [{"1": 7}], 7, True),
        ("x['a']", [{"a": "\u65e5'\n"}], "\u65e5'\n", True),
        ("not x", [None], True, True),
        ("x", ['[1, "a"]'], '[1, "a"]', True),
    ],
)
def test_results_compare_as_json(body: str, given: Any, expected: Any, right: bool) -> None:
    assert holds(f"def f(x): return {body}", "f", given, expected) is right


def close(body: str, expected: Any, tolerance: float) -> bool:
    setup, (case,) = call_cases("f", [[]], [expected], "row 0", tolerance)
    names: dict[str, Any] = {}
    exec(f"def f(): return {body}\n{setup}", names)
    try:
        exec(case["code"], names)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("body", "expected", "right"),
    [
        ("0.1 + 0.2", 0.3, True),
        ("[0.1 + 0.2, (1.0, 'a')]", [0.3, [2, "a"]], False),
        ("[0.1 + 0.2, (1, 'a')]", [0.3, [1, "a"]], True),
        ("0.1 + 0.2", [0.3], True),
        ("{1: [0.1 + 0.2]}", {"1": [0.3]}, True),
        ("{2: [0.1 + 0.2]}", {"1": [0.3]}, False),
        ("3", 3.0, True),
        ("0.31", 0.3, False),
        ("[0.3]", [0.3, 0.3], False),
        ("'0.3'", 0.3, False),
        ("1_000_001", 1_000_000, False),
        ("None", 0.3, False),
    ],
)
def test_floating_point_results_within_a_tolerance(body: str, expected: Any, right: bool) -> None:
    assert close(body, expected, 1e-5) is right
    assert not close("0.1 + 0.2", 0.3, 0.0)


def test_a_tolerance_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tolerance must be in \[0, 1\); got 1.0"):
        CodeContests(tolerance=1.0)


def test_a_method_of_a_solution_is_found() -> None:
    assert holds("class Solution:\n    def f(self, x): return x + 1", "f", [1], 2)


def test_arguments_line_by_line() -> None:
    """As LiveCodeBench has them."""
    assert holds("def f(x, y): return [x] * y", "f", '"a"\n2', '["a", "a"]')
    assert not holds("def f(x, y): return x", "f", '"a"\n2', '["a"]')
