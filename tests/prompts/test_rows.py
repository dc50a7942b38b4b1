"""How rows become prompts, through the JSON lines source; and the files themselves."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from morl.errors import ConfigError, DataError
from morl.hookspecs import PromptSource
from morl.prompts import JsonLines

USER = {"role": "user", "content": "2+2?"}
SYSTEM = {"role": "system", "content": "Be brief."}


def contents(prompts):
    return [prompt.content for prompt in prompts]


# Rows ----------------------------------------------------------------------------------------------------------------


def test_text_and_columns(write):
    source = JsonLines(write([{"prompt": "2+2?", "answer": 4}, {"prompt": "3+3?", "hint": None}]))
    assert isinstance(source, PromptSource)
    first, second = source.load()
    assert (first.content, first.columns) == ("2+2?", {"answer": 4})
    assert (second.content, second.columns) == ("3+3?", {"hint": None})


def test_another_column_and_a_limit(write):
    rows = [{"question": str(i), "prompt": "of the set", "n": i} for i in range(5)]
    prompts = JsonLines(write(rows), prompt="question", limit=2).load()
    assert contents(prompts) == ["0", "1"]
    assert [prompt.columns for prompt in prompts] == [{"prompt": "of the set", "n": n} for n in (0, 1)]


def test_text_may_become_a_chat(write):
    path = write([{"prompt": "2+2?"}])
    assert contents(JsonLines(path, chat=True).load()) == [[USER]]
    assert contents(JsonLines(path, system="Be brief.").load()) == [[SYSTEM, USER]]


def test_chats_keep_their_messages_and_may_get_a_system_message(write):
    messages = [{**USER, "tool_calls": None}, {"role": "assistant", "content": None, "tool_calls": [1]}]
    path = write([{"prompt": messages}])
    assert contents(JsonLines(path).load()) == [[USER, messages[1]]]
    assert contents(JsonLines(path, system="Be brief.").load()) == [[SYSTEM, USER, messages[1]]]


def test_a_template_is_filled_from_columns_and_keeps_them(write):
    path = write([{"question": "2+{2}?", "meta": {"n": 1}, "answer": "4"}])
    (prompt,) = JsonLines(path, template="Q{meta[n]}: {question}\n\\boxed{{}}", chat=True).load()
    assert prompt.content == [{"role": "user", "content": "Q1: 2+{2}?\n\\boxed{}"}]
    assert prompt.columns == {"question": "2+{2}?", "meta": {"n": 1}, "answer": "4"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be at least 1 row, or null for all; got 0"),
        ({"template": "{q}", "prompt": "text"}, "either the column 'text' or made by `template`; set one of the two"),
        ({"template": "Solve {"}, "template: .*double a brace that stands for itself.*got 'Solve {'"),
        ({"template": "Solve it"}, "template must name columns in braces.*got 'Solve it'"),
        ({"template": "Solve {}"}, "template must name columns in braces.*got 'Solve {}'"),
        ({"template": "Solve {0}"}, "template must name columns in braces"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        JsonLines("rows.jsonl", **options)


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        (
            {"promt": "x", "a": 1},
            {},
            "no column 'prompt' .*; did you mean 'promt'.; columns: promt, a; set the .*option `prompt`",
        ),
        ({"q": "x"}, {"template": "{question}"}, "no column 'question' to make the prompt of; columns: q"),
        ({}, {}, "no column 'prompt' .*columns: none"),
        ({"q": None}, {"template": "{q}"}, "column 'q', which the template needs, is null"),
        ({"q": {"a": 1}}, {"template": "{q[b]}"}, "the template cannot be filled: KeyError: 'b'"),
        ({"prompt": 5}, {}, "column 'prompt' must hold text or a list of chat messages; got int 5"),
        ({"prompt": None}, {}, "must hold text or a list of chat messages; got NoneType$"),
        ({"prompt": []}, {}, r"must hold text or a list of chat messages; got list \[\]"),
        ({"prompt": ["hi"]}, {}, "a chat message is an object with `role` and `content`; column 'prompt' has 'hi'"),
        ({"prompt": [{"role": "user"}]}, {}, "a chat message is an object with `role` and `content`"),
        ({"prompt": [SYSTEM, USER]}, {"system": "x"}, "has a system message of its own; leave the option `system` out"),
    ],
)
def test_rows_that_make_no_prompt_are_named(write, row, options, message):
    good = {"prompt": "fine", "question": "fine", "q": "fine"}
    good["q"] = {"b": 1} if "q[b]" in options.get("template", "") else "fine"
    with pytest.raises(DataError, match=f"rows.jsonl, line 2: .*{message}"):
        JsonLines(write([good, row]), **options).load()


# Files ---------------------------------------------------------------------------------------------------------------


def test_gzip_blank_lines_and_unicode(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress('\n{"prompt": "¿2+2? \u2028"}\n\n{"prompt": "b"}'.encode()))
    assert contents(JsonLines(str(path)).load()) == ["¿2+2? \u2028", "b"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "rows.jsonl is empty; expected one JSON object per line"),
        (b"\n \n", "rows.jsonl is empty"),
        (
            b'{"prompt": "a"}\n{"prompt": \n',
            r"rows.jsonl, line 2 is not JSON: Expecting value at column \d+: '{\"prompt\":'",
        ),
        (b'{"prompt": "a"}\n["a"]\n', r"rows.jsonl, line 2: expected a JSON object; got '\[\"a\"\]'; CSV, Parquet"),
        (b'[\n{"prompt": "a"}\n]\n', "line 1 is not JSON.*; this looks like one JSON array, not JSON lines"),
        (b'{"prompt": "\xff"}', "rows.jsonl cannot be read: 'utf-8' codec can't decode"),
    ],
)
def test_files_that_are_no_json_lines(tmp_path, data, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        JsonLines(str(path)).load()


@pytest.mark.parametrize(
    "data", [b"no gzip at all", gzip.compress(b'{"prompt": "a"}' * 99, mtime=0)[:-20]], ids=["other", "cut"]
)
def test_files_that_are_no_gzip(tmp_path, data):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"rows.jsonl.gz cannot be read"):
        JsonLines(str(path)).load()


def test_a_file_that_is_missing_suggests_a_near_one(write, tmp_path):
    write([{"prompt": "a"}], "train.jsonl")
    with pytest.raises(DataError, match=r"tran.jsonl does not exist; did you mean 'train.jsonl'\? \(looked in"):
        JsonLines(str(tmp_path / "tran.jsonl")).load()
    with pytest.raises(DataError, match=r"nowhere/x.jsonl does not exist \(looked in"):
        JsonLines(str(tmp_path / "nowhere" / "x.jsonl")).load()
    with pytest.raises(DataError, match="is a folder, not a file"):
        JsonLines(str(tmp_path)).load()


# Real data -----------------------------------------------------------------------------------------------------------

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="shared data set is not here")
def test_gsm8k_and_toolrl():
    sums = JsonLines(str(DATA / "gsm8k" / "test.jsonl"), prompt="question", system="Think.").load()
    assert len(sums) == 1319
    assert all(prompt.columns["answer"].count("####") >= 1 for prompt in sums)
    calls = JsonLines(str(DATA / "toolrl" / "rlla_test.jsonl")).load()
    assert len(calls) == 80
    assert {tuple(message["role"] for message in prompt.content) for prompt in calls} == {("system", "user")}
    assert set(calls[0].columns) >= {"data_source", "ground_truth"}
