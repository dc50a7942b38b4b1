"""MBPP's rows as prompts and cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from morl.errors import ConfigError, DataError
from morl_code.mbpp import MBPP

pytestmark = pytest.mark.usefixtures("own_datasets_cache")

FULL = {
    "task_id": 601,
    "text": "Write a function to double a number.",
    "code": "def double(x):\r\n\treturn 2 * x",
    "test_setup_code": "two = Number(2)\r\nthree = 3",
    "test_list": ["assert double(1) == 2", "assert double(two) == 4 "],
    "challenge_test_list": ["assert double(0) == 0"],
}
SANITIZED = {
    "task_id": 11,
    "prompt": "Write a function to double a number.",
    "code": "def double(x):\n    return 2 * x",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(double(1), 2)"],
}


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_row_becomes_a_prompt_that_shows_its_tests(tmp_path: Path) -> None:
    (prompt,) = MBPP(path=write(tmp_path / "rows.jsonl", FULL)).load()
    text = prompt.content[0]["content"]
    assert text.startswith("Write a function to double a number.")
    assert "assert double(1) == 2\nassert double(two) == 4\n" in text
    assert "double(0)" not in text
    assert prompt.columns == {
        "task_id": 601,
        "setup": "two = Number(2)\nthree = 3",
        "tests": [{"code": "assert double(1) == 2"}, {"code": "assert double(two) == 4"}],
        "names": ["double"],
        "reference": "def double(x):\n\treturn 2 * x",
    }


def test_challenge_tests_count_but_are_not_shown(tmp_path: Path) -> None:
    (prompt,) = MBPP(path=write(tmp_path / "rows.jsonl", FULL), challenge=True).load()
    assert prompt.columns["tests"][-1] == {"code": "assert double(0) == 0"}
    assert "double(0)" not in prompt.content[0]["content"]


def test_the_sanitized_layout(tmp_path: Path) -> None:
    (prompt,) = MBPP(path=write(tmp_path / "rows.jsonl", SANITIZED), split="test").load()
    assert prompt.columns["setup"] == "import math"
    assert prompt.content[0]["content"].startswith("Write a function")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, ["double"]),
        (
            {
                "code": "class Number: pass\ndef double(x): pass\ndef helper(): pass",
                "test_setup_code": "two = Number(2)",
            },
            ["Number", "double"],
        ),
        ({"code": "def sum(x): pass", "test_list": ["assert set(sum(1)) == {2}"]}, ["sum"]),
        ({"code": None}, None),
        ({"code": "print 'two'"}, None),
    ],
)
def test_tests_take_from_a_program_what_the_reference_defines(tmp_path: Path, change: Any, names: Any) -> None:
    (prompt,) = MBPP(path=write(tmp_path / "rows.jsonl", FULL | change)).load()
    assert prompt.columns["names"] == names


def test_imports_that_tests_rely_on_are_their_own(tmp_path: Path) -> None:
    code = "import sys, os\nimport re\nfrom math import ceil as up\ndef double(x): return 2 * x"
    change = {"code": code, "test_list": ["assert double(up(0.5)) == 2 and sys.path"]}
    (prompt,) = MBPP(path=write(tmp_path / "rows.jsonl", FULL | change)).load()
    assert prompt.columns["setup"].startswith("import sys, os\nfrom math import ceil as up\ntwo = ")


def test_a_file_is_split_by_task_id(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", *(FULL | {"task_id": task} for task in (1, 10, 11, 510, 511, 600, 601, 974)))
    tasks = {
        split: [prompt.columns["task_id"] for prompt in MBPP(path=path, split=split).load()]  # type: ignore[arg-type]
        for split in ("prompt", "test", "validation", "train")
    }
    assert tasks == {"prompt": [1, 10], "test": [11, 510], "validation": [511, 600], "train": [601, 974]}
    assert len(MBPP(path=path, split="all", limit=7).load()) == 7


def test_a_data_set_with_splits_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", FULL)
    write(tmp_path / "test.jsonl", FULL, FULL)
    assert len(MBPP(path=str(tmp_path), split="test").load()) == 2


def test_the_wording_can_be_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", SANITIZED)
    source = MBPP(path=path, split="test", chat=False, template='"""\n{text}\n{tests}\n"""\n')
    assert source.load()[0].content == (
        '"""\nWrite a function to double a number.\nassert math.isclose(double(1), 2)\n"""\n'
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (FULL | {"test_list": []}, "row 0 of .* has no 'test_list'; its columns: task_id"),
        (FULL | {"text": None}, "row 0 of .* has no text in 'text' or 'prompt'"),
        (FULL | {"task_id": 11}, "has no row of split 'train', which is told by `task_id`"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        MBPP(path=write(tmp_path / "rows.jsonl", row)).load()


def test_options_without_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="split must be one of prompt, test, validation, train, all; got 'dev'"):
        MBPP(split="dev")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"subset belongs to hub data sets, but 'mbpp\.jsonl' is a file"):
        MBPP(path="mbpp.jsonl", subset="sanitized")
