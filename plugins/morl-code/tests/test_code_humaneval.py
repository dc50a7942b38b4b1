"""HumanEval's rows as prompts and cases."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from morl.errors import ConfigError, DataError
from morl_code.humaneval import HumanEval, split_check

pytestmark = pytest.mark.usefixtures("own_datasets_cache")

ROW = {
    "task_id": "Own/0",
    "prompt": (
        'import math\n\n\ndef half(x: float) -> int:\n    """Half of x, rounded down.\n'
        '    >>> half(3)\n    1\n    """\n'
    ),
    "entry_point": "half",
    "canonical_solution": "    return math.floor(x / 2)\n",
    "test": (
        "\n\nMETADATA = {'author': 'me'}\n\n\ndef check(candidate):\n"
        "    assert candidate(3) == 1, 'rounds'\n    assert True, 'prints'\n"
        "    assert candidate(\n        4\n    ) == 2\n"
    ),
}


def write(path: Path, *rows: dict[str, Any]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return str(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_row_becomes_a_prompt_with_cases(tmp_path: Path, name: str) -> None:
    (prompt,) = HumanEval(path=write(tmp_path / name, ROW)).load()
    (message,) = prompt.content
    assert message["role"] == "user"
    assert ROW["prompt"].strip() in message["content"]
    assert prompt.columns == {
        "task_id": "Own/0",
        "entry_point": "half",
        "prefix": ROW["prompt"],
        "setup": "import math\nMETADATA = {'author': 'me'}\ncandidate = half",
        "names": ["half"],
        "tests": [{"code": "assert candidate(3) == 1, 'rounds'"}, {"code": "assert candidate(4) == 2"}],
        "reference": ROW["canonical_solution"],
    }


def test_the_layout_of_the_hub(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist([ROW, ROW]), tmp_path / "test.parquet")
    assert len(HumanEval(path=str(tmp_path), split="test").load()) == 2
    assert len(HumanEval(path=str(tmp_path / "test.parquet"), limit=1).load()) == 1


def test_the_prompt_as_base_models_get_it(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ROW)
    assert HumanEval(path=path, chat=False).load()[0].content == ROW["prompt"]
    assert HumanEval(path=path, chat=False, template="# Task\n{prompt}").load()[0].content == "# Task\n" + ROW["prompt"]
    (prompt,) = HumanEval(path=path, system="Be brief.").load()
    assert prompt.content[0] == {"role": "system", "content": "Be brief."}


def test_a_check_with_more_than_asserts_is_one_case() -> None:
    for body in ("for n in range(3):\n        assert f(n) == n", "x = f(1)\n    assert x == 1"):
        test = f"def check(f):\n    {body}\n"
        assert split_check(test, "same") == (test, ["check(same)"])


def test_names_and_texts_between_the_asserts_do_not_matter() -> None:
    test = "def check(f):\n    'Simple cases.'\n    print\n    assert f(1) == 1\n    assert f(2) == 2"
    assert split_check(test, "same") == ("f = same", ["assert f(1) == 1", "assert f(2) == 2"])


def test_helpers_of_the_prompt_are_the_tests_own(tmp_path: Path) -> None:
    prompt = "def twice(x):\n    return 2 * x\n\n\n" + str(ROW["prompt"])
    (row,) = HumanEval(path=write(tmp_path / "rows.jsonl", ROW | {"prompt": prompt})).load()
    assert "def twice" in row.columns["setup"]
    assert "def half" not in row.columns["setup"]
    assert row.columns["names"] == ["half"]


@pytest.mark.parametrize("body", ["assert True", "pass", "for i in range(3):\n        assert i < 3"])
def test_a_check_that_never_looks_at_the_program_is_refused(body: str) -> None:
    """It would score 1 for every program."""
    with pytest.raises(DataError, match=r"row 7: check\(f\) never looks at 'f', so that every program would pass"):
        split_check(f"def check(f):\n    {body}\n", "same", "row 7")


@pytest.mark.parametrize(
    "idle",
    [
        "assert f(1) == f(2)",
        "assert same(1) == f(1)",
        "assert not f(1) != f(2)",
        "assert f(1) is f(1) and f(2) == f(2)",
        "assert abs(f(1) - f(2)) < 1e-6",
        "assert math.isclose(f(1), f(2))",
        "assert tuple(f(1)) == tuple(same(1)), 'the same'",
        "assert True, f(1)",
    ],
)
def test_what_compares_the_program_with_itself_is_no_case(idle: str) -> None:
    assert split_check(f"def check(f):\n    {idle}\n    assert f(3) == 4", "same") == ("f = same", ["assert f(3) == 4"])
    with pytest.raises(DataError, match="so that every program would pass"):
        split_check(f"def check(f):\n    {idle}\n", "same")
    loop = f"def check(f):\n    for n in range(3):\n        {idle}\n        assert f(n) == n + 1"
    setup, cases = split_check(loop, "same")
    assert cases == ["check(same)"]
    assert "f(n) == n + 1" in setup
    assert idle[7:] not in setup or idle.startswith("assert True")


@pytest.mark.parametrize(
    "real",
    ["f(f(1)) == 3", "f(1) + f(2) == 5", "max(f(1), f(2)) == 3", "f(1) == f(2) == 5", "f(1) == 2 or f(1) == f(2)"],
)
def test_what_has_a_value_of_its_own_is_a_case(real: str) -> None:
    assert split_check(f"def check(f):\n    assert {real}", "same") == ("f = same", [f"assert {real}"])


def test_a_check_that_looks_outside_of_its_asserts_is_one_case() -> None:
    test = "def check(f):\n    found = f(1)\n    assert found == 2\n"
    assert split_check(test, "same") == (test, ["check(same)"])


def test_helpers_of_the_test_run_before_the_cases() -> None:
    setup, cases = split_check("LIMIT = 3\ndef near(a): return a < LIMIT\ndef check(f):\n    assert near(f(1))", "same")
    names: dict[str, Any] = {"same": lambda x: x}
    exec(setup, names)
    for case in cases:
        exec(case, names)
    assert cases == ["assert near(f(1))"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": None}, r"row 0 of .* has no text in 'prompt'; its columns: task_id, prompt"),
        ({"prompt": "Write a function."}, "row 0 of .*: the prompt is no beginning of a program"),
        ({"entry_point": " "}, r"row 0 of .* has no text in 'entry_point'"),
        ({"test": "def test(f): pass"}, r"row 0 of .*: the test must define check\(candidate\); got 'def test"),
        ({"test": "def check(): pass"}, r"row 0 of .*: the test must define check\(candidate\)"),
        ({"test": "def check(f:"}, r"row 0 of .*: the test does not compile"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        HumanEval(path=write(tmp_path / "rows.jsonl", ROW | change)).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "{task}"}, r"template must have fields among \{prompt\}; got '\{task\}'"),
        ({"template": "Go."}, "template must have fields among"),
        ({"template": "{prompt"}, "template: .*double a brace"),
        ({"limit": 0}, "limit must be at least 1 row, or null for all; got 0"),
        ({"chat": False, "system": "Hi"}, "system is a message of a chat"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HumanEval(**options)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl' does not exist"):
        HumanEval(path=str(tmp_path / "absent.jsonl")).load()
