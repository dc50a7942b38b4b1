"""The prompt sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from morl.errors import ConfigError, DataError
from morl.types import Completion
from morl_math.prompts import GSM8K, INSTRUCTIONS, MathProblems
from morl_math.rewards import MathCorrectness

GRADE_SCHOOL = [
    {"question": "48 clips and half of it?", "answer": "48 / 2 = <<48/2=24>>24\n48 + 24 = 72\n#### 72"},
    {"question": "A loss?", "answer": "It is 1,000 - 2,500.\n#### -1,500"},
]
MATH = [
    {"problem": "Half?", "level": "Level 1", "type": "Algebra", "solution": r"So $\boxed{\frac{1}{2}}$."},
    {
        "problem": "A set?",
        "level": "Level 5",
        "type": "Algebra",
        "solution": r"First \boxed{1}, then $\boxed{\{1, 2\}}$.",
    },
]
DEEPSCALER = [
    {"problem": "Half?", "answer": r"\frac{1}{2}", "solution": "Divide."},
    {"problem": "7?", "answer": "7", "solution": ""},
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    if path.suffix == ".parquet":
        from datasets import Dataset

        Dataset.from_list(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_grade_school_rows(tmp_path: Path, suffix: str) -> None:
    prompts = GSM8K(path=write(tmp_path / f"rows.{suffix}", GRADE_SCHOOL)).load()
    asked = [f"{row['question']}\n\n{INSTRUCTIONS['number']}" for row in GRADE_SCHOOL]
    assert [prompt.content for prompt in prompts] == [[{"role": "user", "content": text}] for text in asked]
    assert [prompt.columns for prompt in prompts] == [
        {"answer": "72", "solution": GRADE_SCHOOL[0]["answer"]},
        {"answer": "-1500", "solution": GRADE_SCHOOL[1]["answer"]},
    ]


def test_a_folder_with_splits(tmp_path: Path) -> None:
    for split, row in zip(("train", "test"), GRADE_SCHOOL, strict=True):
        write(tmp_path / f"{split}.jsonl", [row])
    assert [prompt.columns["answer"] for prompt in GSM8K(path=str(tmp_path), split="test").load()] == ["-1500"]


def test_the_solution_scores_1_as_a_completion(tmp_path: Path) -> None:
    for rows, prompts, mode in (
        (GRADE_SCHOOL, GSM8K(path=write(tmp_path / "a.jsonl", GRADE_SCHOOL)).load(), "number"),
        (MATH, MathProblems(path=write(tmp_path / "b.jsonl", MATH)).load(), "boxed"),
    ):
        completions = [
            Completion(prompt, row["solution" if "solution" in row else "answer"], (1,))
            for prompt, row in zip(prompts, rows, strict=True)
        ]
        assert MathCorrectness(mode=mode, workers=1, time_limit=20.0).score(completions) == [1.0, 1.0]  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_rows_as_math_lays_them_out(tmp_path: Path, suffix: str) -> None:
    prompts = MathProblems(path=write(tmp_path / f"rows.{suffix}", MATH), limit=2).load()
    assert prompts[0].content == [{"role": "user", "content": f"Half?\n\n{INSTRUCTIONS['boxed']}"}]
    expected = [{**row, "answer": answer} for row, answer in zip(MATH, [r"\frac{1}{2}", r"\{1, 2\}"], strict=True)]
    assert [
        {**prompt.columns, "problem": row["problem"]} for prompt, row in zip(prompts, MATH, strict=True)
    ] == expected


def test_rows_as_deepscaler_lays_them_out(tmp_path: Path) -> None:
    prompts = MathProblems(path=write(tmp_path / "rows.jsonl", DEEPSCALER)).load()
    assert [prompt.columns["answer"] for prompt in prompts] == [r"\frac{1}{2}", "7"]


def test_other_names_of_columns(tmp_path: Path) -> None:
    rows = [{"question": "7?", "final": 7}, {"question": "8?", "final": None, "text": r"\boxed{8}"}]
    path = write(tmp_path / "rows.jsonl", rows)
    prompts = MathProblems(path=path, problem="question", answer="final", solution="text").load()
    assert [prompt.columns["answer"] for prompt in prompts] == ["7", "8"]


@pytest.mark.parametrize("form", list(INSTRUCTIONS))
def test_each_form_asks_for_what_its_mode_reads(tmp_path: Path, form: Any) -> None:
    (prompt,) = MathProblems(path=write(tmp_path / "rows.jsonl", DEEPSCALER[1:]), answer_form=form).load()
    (message,) = prompt.content
    assert message["content"] == f"7?\n\n{INSTRUCTIONS[form]}"
    answer = {"number": "#### 7", "boxed": r"\boxed{7}", "answer-tag": "<answer>7</answer>"}[form]
    assert MathCorrectness(mode=form).score([Completion(prompt, answer, (1,))]) == [1.0]


def test_own_words(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", GRADE_SCHOOL[:1])
    (prompt,) = GSM8K(path=path, instruction="Box it.", system="You count.").load()
    question = GRADE_SCHOOL[0]["question"]
    assert prompt.content == [
        {"role": "system", "content": "You count."},
        {"role": "user", "content": f"{question}\n\nBox it."},
    ]
    (prompt,) = GSM8K(path=path, instruction="").load()
    assert prompt.content == [{"role": "user", "content": question}]


@pytest.mark.parametrize(
    ("source", "row", "message"),
    [
        (GSM8K, {"question": "?"}, r"row 0 of .* has no text in column 'answer'; its columns: $"),
        (
            GSM8K,
            {"question": "?", "answer": "see above"},
            r"row 0 of .*: expected a solution that ends with #### .*got 'see above'",
        ),
        (GSM8K, {"question": " ", "answer": "#### 1"}, r"row 0 of .*: the problem must be text; got ' '"),
        (GSM8K, {"problem": "?", "answer": "#### 1"}, r"no column 'question' to make the prompt of"),
        (MathProblems, {"problem": "?"}, r"row 0 of .* has neither an answer in column 'answer' nor \\boxed\{\.\.\}"),
        (MathProblems, {"problem": "?", "solution": "7"}, r"has neither an answer .* its columns: solution"),
        (MathProblems, {"problem": "?", "solution": r"\boxed{ }"}, r"row 0 of .*: the answer is empty"),
        (MathProblems, {"problem": "?", "answer": " "}, r"row 0 of .*: the answer is empty: ' '"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, source: Any, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        source(path=write(tmp_path / "rows.jsonl", [row])).load()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl' does not exist"):
        GSM8K(path=str(tmp_path / "absent.jsonl")).load()


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="answer_form must be one of number, boxed, answer-tag; got 'box'; did you mean 'boxed'"
    ):
        MathProblems(path="x", answer_form="box")  # type: ignore[arg-type]


def test_the_default_is_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="'openai/gsm8k', split 'test', cannot be loaded"):
        GSM8K(split="test").load()


# The data set itself, where it is at hand ----------------------------------------------------------------------------

DATA = Path(__file__).parents[4] / "shared" / "data" / "gsm8k"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/gsm8k; the fixture rows above cover the same")
def test_gsm8k_itself() -> None:
    prompts = [*GSM8K(path=str(DATA / "train.jsonl")).load(), *GSM8K(path=str(DATA / "test.jsonl")).load()]
    assert len(prompts) == 8792
    assert sum("," in prompt.columns["solution"].rpartition("####")[2] for prompt in prompts) == 93
    assert all(str(int(prompt.columns["answer"])) == prompt.columns["answer"] for prompt in prompts)
