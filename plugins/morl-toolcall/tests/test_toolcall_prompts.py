"""The prompt source: layouts, files and folders, the system message, and what is refused.

`data/` holds rows of our own in ToolRL's two layouts, one of each kind that the data set has: one call and several, of
one tool and of several, nested and typed values, other scripts, responses, and thoughts that mention the tags.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from morl.errors import ConfigError, DataError
from morl_toolcall import correctness, format_score, toolrl
from morl_toolcall.prompts import ToolRLPrompts

OWN = Path(__file__).parent / "data"
RAW = json.loads((OWN / "raw.json").read_text(encoding="utf-8"))
ROWS = [json.loads(line) for line in (OWN / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
GOLDS = [row["ground_truth"] for row in ROWS]
MESSAGES = [{"role": "system", "content": "Tools: f"}, {"role": "user", "content": "Call f with 1."}]
GOLD = '<think> hm </think>\n<tool_call>\n{"name": "f", "parameters": {"a": 1}}\n</tool_call>'
TOOLS = [
    {"name": "f", "description": "Does f.", "parameters": {"a": {"type": "int"}}},
    {"type": "function", "function": {"name": "\u65e5", "description": "D."}},
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def golds(source: ToolRLPrompts) -> list[Any]:
    return [prompt.columns["ground_truth"] for prompt in source.load()]


# Layouts, files and folders ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_rows_become_prompts_in_order(tmp_path: Path, suffix: str) -> None:
    prompts = ToolRLPrompts(write(tmp_path / f"rows.{suffix}", ROWS)).load()
    assert [prompt.content for prompt in prompts] == [row["prompt"] for row in ROWS]
    assert [prompt.columns for prompt in prompts] == [
        {name: row[name] for name in ("data_source", "ground_truth", "split", "index")} for row in ROWS
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_raw_rows_are_the_same_prompts(tmp_path: Path, suffix: str) -> None:
    prompts = ToolRLPrompts(write(tmp_path / f"raw.{suffix}", RAW)).load()
    assert [prompt.content for prompt in prompts] == [row["prompt"] for row in ROWS]
    assert [prompt.columns for prompt in prompts] == [{"ground_truth": gold} for gold in GOLDS]


def test_a_raw_row_without_instruction_has_the_users_message_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "raw.json", [{"instruction": "", "input": "Hi.", "output": GOLD}])
    assert ToolRLPrompts(path).load()[0].content == [{"role": "user", "content": "Hi."}]


def test_rows_as_verl_lays_them_out(tmp_path: Path) -> None:
    reward_models = [{"style": "rule", "ground_truth": gold} for gold in GOLDS]
    rows = [{"prompt": MESSAGES, "reward_model": each} for each in reward_models]
    prompts = ToolRLPrompts(write(tmp_path / "rows.parquet", rows)).load()
    assert [prompt.columns for prompt in prompts] == [
        {"reward_model": each, "ground_truth": each["ground_truth"]} for each in reward_models
    ]


def test_a_prompt_that_is_text_is_the_users_message(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "Call f.", "ground_truth": GOLD}])
    assert ToolRLPrompts(path).load()[0].content == [{"role": "user", "content": "Call f."}]


def test_messages_lose_the_keys_that_only_others_have(tmp_path: Path) -> None:
    messages = [*MESSAGES[:1], {**MESSAGES[1], "name": "Jo"}]
    path = write(tmp_path / "rows.parquet", [{"prompt": messages, "ground_truth": GOLD}])
    assert ToolRLPrompts(path).load()[0].content == messages


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_folder_of_files_with_splits(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "hub" / "data" / f"train-00000-of-00001.{suffix}", ROWS[:4])
    write(tmp_path / "hub" / "data" / f"test-00000-of-00001.{suffix}", ROWS[4:])
    assert golds(ToolRLPrompts(str(tmp_path / "hub"))) == GOLDS[:4]
    assert golds(ToolRLPrompts(str(tmp_path / "hub"), split="test")) == GOLDS[4:]


def test_folders_that_save_to_disk_wrote(tmp_path: Path) -> None:
    Dataset.from_list(RAW).save_to_disk(tmp_path / "one")
    assert golds(ToolRLPrompts(str(tmp_path / "one"))) == GOLDS
    splits = DatasetDict({"train": Dataset.from_list(ROWS[:4]), "test": Dataset.from_list(ROWS[4:])})
    splits.save_to_disk(tmp_path / "two")
    assert golds(ToolRLPrompts(str(tmp_path / "two"), split="test")) == GOLDS[4:]
    with pytest.raises(DataError, match=r"two' has no split 'dev'; it has train, test"):
        ToolRLPrompts(str(tmp_path / "two"), split="dev").load()


# Options -------------------------------------------------------------------------------------------------------------


def test_rows_that_another_file_has_too_are_left_out(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl", ROWS)
    seen = write(tmp_path / "seen.json", [{**RAW[2], "output": GOLD}, RAW[5]])  # the same question, whatever the answer
    assert golds(ToolRLPrompts(rows, exclude=seen)) == [gold for row, gold in enumerate(GOLDS) if row not in (2, 5)]


def test_the_thinking_of_all_reference_answers_can_be_one_text(tmp_path: Path) -> None:
    path = write(tmp_path / "raw.json", [*RAW, {**RAW[0], "output": RAW[0]["output"].split("</think>\n")[1]}])
    changed = golds(ToolRLPrompts(path, thinking="I see."))
    for before, after in zip([*GOLDS, GOLDS[0]], changed, strict=True):
        assert after == "<think> I see. </think>\n" + before.split("</think>\n", 1)[1]
        assert (format_score(after, before), correctness(after, before)) == (1.0, 3.0)


def test_a_thinking_with_its_tags_is_refused() -> None:
    with pytest.raises(ConfigError, match="thinking must be the text between the tags, without them; got '<think> a"):
        ToolRLPrompts("x.json", thinking="<think> a </think>")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_system_message_lists_the_tools_of_rows_without_one(tmp_path: Path, as_json: bool) -> None:
    tools = json.dumps(TOOLS) if as_json else TOOLS
    rows = [
        {"prompt": "Call f.", "ground_truth": GOLD, "tools": tools},
        {"prompt": MESSAGES, "ground_truth": GOLD, "tools": tools},
    ]
    source = ToolRLPrompts(str(tmp_path / "rows.jsonl"), system="You have\n{tools}\nand {no} other.")
    path = Path(source.path)
    path.write_text("".join(json.dumps(row) + "\n" for row in (rows[0],)), encoding="utf-8")
    (without,) = source.load()
    assert without.content == [
        {
            "role": "system",
            "content": "You have\n"
            '1. Name: f\nDescription: Does f.\nParameters: {"a": {"type": "int"}}\n'
            "2. Name: \u65e5\nDescription: D.\nParameters: {}\n"
            "and {no} other.",
        },
        {"role": "user", "content": "Call f."},
    ]
    path.write_text(json.dumps(rows[1]), encoding="utf-8")
    assert source.load()[0].content == MESSAGES  # has its own


def test_the_packaged_system_message_explains_the_form_that_is_graded(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "Call f.", "ground_truth": GOLD, "tools": json.dumps(TOOLS)}])
    system, _ = ToolRLPrompts(path, system="default").load()[0].content
    assert isinstance(system, dict)
    text = system["content"]
    assert "1. Name: f\nDescription: Does f." in text
    example = text[text.index("<think>") : text.index("</response>") + len("</response>")]
    assert format_score(example, GOLD + "\n<response> ok </response>") == 1.0


@pytest.mark.parametrize("tools", [None, "f", '{"name": "f"}', [{"description": "nameless"}], [1]])
def test_a_row_whose_tools_cannot_be_listed_is_named(tmp_path: Path, tools: Any) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "Call f.", "ground_truth": GOLD, "tools": tools}])
    with pytest.raises(DataError, match=r"row 0 of .*rows\.jsonl: .* the column 'tools' must hold a list of objects"):
        ToolRLPrompts(path, system="default").load()


def test_a_system_message_without_tools_needs_none(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": "Call f.", "ground_truth": GOLD}])
    assert ToolRLPrompts(path, system="Be kind.").load()[0].content[0] == {"role": "system", "content": "Be kind."}


def test_unchecked_reference_answers_pass(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"prompt": MESSAGES, "ground_truth": "f(1)"}])
    assert len(ToolRLPrompts(path, check=False).load()) == 1


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": MESSAGES}, r"row 0 of .* has no 'ground_truth'; its columns: prompt; expected 'prompt' and"),
        ({"ground_truth": GOLD}, r"row 0 of .* has no 'prompt'; its columns: ground_truth; expected"),
        (
            {"question": "x"},
            r"has no 'prompt'; its columns: question; .* or the raw 'instruction', 'input' and 'output'",
        ),
        ({"instruction": "x", "output": GOLD}, r"row 0 of .* has no 'input'; its columns: instruction, output"),
        ({"instruction": "x", "input": "y", "output": ""}, r"row 0 of .* has no 'output'"),
        ({"prompt": 5, "ground_truth": GOLD}, r"row 0 of .*: 'prompt' must be text or a list of chat messages; got 5"),
        (
            {"prompt": [{"role": "user"}], "ground_truth": GOLD},
            r"'prompt' must be text or a list of chat messages; got",
        ),
        ({"prompt": MESSAGES, "ground_truth": "f(1)"}, r"row 0 of .*: the reference answer must be .*got 'f\(1\)'"),
        ({"input": "x", "output": "f(1)"}, r"row 0 of .*: the reference answer must be .*got 'f\(1\)'"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ToolRLPrompts(write(tmp_path / "rows.jsonl", [row])).load()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl' does not exist"):
        ToolRLPrompts(str(tmp_path / "absent.jsonl")).load()


# Gold answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gold", GOLDS)
def test_gold_answers_score_1_and_3(gold: str) -> None:
    assert (format_score(gold, gold), correctness(gold, gold)) == (1.0, 3.0)
    assert correctness(gold, gold, lenient=False) == 3.0


@pytest.mark.parametrize("gold", GOLDS)
def test_gold_answers_of_other_rows_do_not(gold: str) -> None:
    others = [other for other in GOLDS if other != gold and ("<tool_call>\n" in other or "<tool_call>\n" in gold)]
    assert all(correctness(other, gold) < 3.0 for other in others)


DATA = Path(__file__).parents[4] / "shared" / "data" / "toolrl"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/toolrl; the rows in data/ cover the same")
class TestToolRLItself:
    """The data set, where it is at hand."""

    @pytest.mark.parametrize(("file", "rows"), [("test.jsonl", 80), ("test.parquet", 80), ("sft.json", 400)])
    def test_every_gold_answer_scores_1_and_3(self, file: str, rows: int) -> None:
        answers = golds(ToolRLPrompts(str(DATA / f"rlla_{file}")))
        assert len(answers) == rows
        for gold in answers:
            assert (format_score(gold, gold), correctness(gold, gold)) == (1.0, 3.0), gold
            assert correctness(gold, gold, lenient=False) == 3.0, gold

    def test_the_released_code_cannot_read_17_supervised_answers(self) -> None:
        unread = 0
        for gold in golds(ToolRLPrompts(str(DATA / "rlla_sft.json"))):
            try:
                assert toolrl.correctness(gold, gold) == (3.0 if "<tool_call>" in gold else 0.0)
            except DataError:
                unread += 1
        assert unread == 17

    def test_one_test_row_is_a_supervised_one(self) -> None:
        source = ToolRLPrompts(str(DATA / "rlla_test.parquet"), exclude=str(DATA / "rlla_sft.json"))
        assert len(source.load()) == 79
