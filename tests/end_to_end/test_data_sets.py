"""The way from a data set to a trained policy, with real rows where they are at hand and self-made ones everywhere."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from morl import train

GRADE_SCHOOL = [
    {"question": f"Ann has {n} apples and buys {n + 1} more. How many?", "answer": f"{n} + {n + 1}\n#### {2 * n + 1}"}
    for n in range(12)
]
SYSTEM = 'You can use these tools:\n1. Name: weather\nParameters: {"city": {"type": "string"}}'


def tool_row(city: str) -> dict[str, object]:
    call = json.dumps({"name": "weather", "parameters": {"city": city}})
    return {
        "data_source": "rlla",
        "prompt": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"Weather in {city}?"}],
        "ground_truth": f"<think> Ask. </think>\n<tool_call>\n{call}\n</tool_call>",
    }


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(folder: Path, model: Path, prompts: dict[str, object], rewards: dict[str, object]) -> dict[str, object]:
    return {
        "output": str(folder / "run"),
        "policy": {"path": str(model)},
        "prompts": {"max_prompt_tokens": 3500, "on_long": "skip", **prompts},
        "rewards": rewards,
        "estimator": {"name": "gdpo"},
        "sampling": {"max_tokens": 24},
        "optimizer": {"lr": 1e-3},
        "training": {"steps": 2, "prompts_per_step": 4, "group_size": 4, "micro_batch_tokens": 8192},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }


def check(result, rewards: tuple[str, ...]) -> list[dict[str, str]]:
    assert result.rewards == rewards
    with (result.folder / "logs" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        for name in rewards:
            assert float(row[f"reward/{name}/failed"]) == 0
            assert float(row[f"reward/{name}/missing"]) == 0
    assert AutoModelForCausalLM.from_pretrained(result.model).num_parameters()
    return rows


MATH_REWARDS = {
    "correct": {
        "name": "exact-match",
        "column": "answer",
        "extract": r"####\s*(-?[\d,]+)",
        "extract_reference": r"####\s*(-?[\d,]+)",
    },
    "short": {"name": "length", "limit": 16},
}


@pytest.mark.parametrize("source", ["self-made", "shared"])
def test_grade_school_questions_through_a_chat_template(tmp_path, make_model_folder, request, source):
    if source == "shared":
        path = request.getfixturevalue("shared_data") / "gsm8k" / "train.jsonl"
    else:
        path = write_rows(tmp_path / "train.jsonl", GRADE_SCHOOL)
    model = make_model_folder(tmp_path / "model", text=path.read_text()[:200_000], vocabulary=1000)
    prompts = {
        "name": "jsonl",
        "path": str(path),
        "prompt": "question",
        "chat": True,
        "system": "End with #### and the number.",
    }
    result = train(config(tmp_path, model, prompts, MATH_REWARDS))
    check(result, ("correct", "short"))
    sample = json.loads((result.folder / "samples" / "step-000001.jsonl").read_text().splitlines()[0])
    assert sample["prompt"].startswith("<system> End with ####")
    assert sample["prompt"].endswith("<assistant> ")


@pytest.mark.parametrize("source", ["self-made", "shared"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_tool_calling_rows_with_the_real_graders(tmp_path, make_model_folder, request, source, form):
    if source == "shared":
        path = request.getfixturevalue("shared_data") / "toolrl" / f"rlla_test.{form}"
        text = (path.parent / "rlla_test.jsonl").read_text()
    else:
        rows = [tool_row(city) for city in ("Rome", "Oslo", "Lima", "Bonn", "Kyiv")]
        path = write_rows(tmp_path / "rows.jsonl", rows)
        text = path.read_text()
        if form == "parquet":
            from datasets import Dataset

            path = tmp_path / "rows.parquet"
            Dataset.from_list(rows).to_parquet(path)
    model = make_model_folder(tmp_path / "model", text=text, vocabulary=2000)
    rewards = {
        "format": {"name": "toolcall-format"},
        "correctness": {"name": "toolcall-correctness"},
    }
    rows = check(train(config(tmp_path, model, {"name": "toolrl", "path": str(path)}, rewards)), tuple(rewards))
    assert -3 <= float(rows[0]["reward/correctness/mean"]) <= 3
