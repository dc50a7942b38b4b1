"""Messages in the forms that data sets have: parts, nulls of columnar files, halves of characters."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from morl.errors import DataError
from morl.prompts import HubDataset, JsonLines, encode_prompts
from morl.types import Prompt

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}


def test_nulls_of_columnar_files_are_left_out_at_every_depth(tmp_path: Path):
    other = {"type": "function", "function": {"name": "weather", "arguments": {"unit": {"name": "C", "scale": None}}}}
    rows = [
        [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL, other]},
            {"role": "tool", "content": "21", "name": "weather"},
        ]
    ]
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"prompt": rows}), path)
    # The file itself has the union of the keys of both calls.
    (stored,) = parquet.read_table(path)["prompt"].to_pylist()
    assert stored[1]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome", "unit": None}
    (prompt,) = HubDataset(str(path)).load()
    wanted = {"type": "function", "function": {"name": "weather", "arguments": {"unit": {"name": "C"}}}}
    assert prompt.content == [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL, wanted]},
        {"role": "tool", "content": "21", "name": "weather"},
    ]


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "text", "text": "2+"}, {"type": "text", "text": "2?"}],
        [{"type": "text", "text": "2+", "image": None}, {"type": None, "text": "2?"}],
        ["2+", {"type": "input_text", "text": "2?"}],
    ],
)
def test_parts_of_text_are_read_as_text(write, tokenizer, parts):
    wanted = [{"role": "user", "content": "2+2?"}]
    (prompt,) = JsonLines(write([{"prompt": [{"role": "user", "content": parts}]}])).load()
    assert prompt.content == wanted
    by_hand = Prompt([{"role": "user", "content": parts}])
    assert encode_prompts([by_hand], tokenizer)[0].token_ids == encode_prompts([prompt], tokenizer)[0].token_ids


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"role": "user", "content": [{"type": "image", "image": "cat.png"}]}, r"a part of the type 'image' \(image\)"),
        ({"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": ""}}]},
         "a part of the type 'image_url'"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "a part of the type 'text'"),
        ({"role": "user", "content": [3]}, "int 3"),
        ({"role": "user", "content": None}, "the content of a message of the role 'user' in column 'prompt' is null"),
        ({"role": "tool", "content": None}, "the role 'tool' in column 'prompt' is null"),
        ({"role": "assistant", "content": None, "tool_calls": None}, "the role 'assistant' in column 'prompt' is null"),
        ({"role": "user", "content": 4}, "must be text or a list of text parts; column 'prompt' has .* int 4"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused_with_its_row(write, tokenizer, message, complaint):
    good = [{"role": "user", "content": "?"}]
    path = write([{"prompt": good}, {"prompt": [message]}])
    with pytest.raises(DataError, match=f"rows.jsonl, line 2: .*{complaint}"):
        JsonLines(path).load()
    encoded = encode_prompts([Prompt(good), Prompt([message])], tokenizer)
    with pytest.raises(DataError, match=f"the prompt of row 1: .*{complaint}"):
        encoded[1]


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ('{"prompt": "\\ud83d", "answer": "4"}', "column 'prompt'"),
        ('{"prompt": "?", "answer": {"deep": ["4", "x\\ude00y"]}}', "column 'answer'"),
        ('{"prompt": "?", "answer": {"\\ud800": 1}}', "column 'answer'"),
        ('{"prompt": [{"role": "user", "content": "\\ud83d"}]}', "column 'prompt'"),
        ('{"prompt": "?", "\\ud800": 1}', r"column '\\ud800'"),
    ],
)
def test_half_a_character_is_named_with_its_row(tmp_path: Path, tokenizer, row, place):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "\\ud83d\\ude00"}\n' + row + "\n")
    with pytest.raises(DataError, match="line 2: ") as caught:
        JsonLines(str(path)).load()
    assert place.replace("\\\\", "\\") in str(caught.value)
    assert "holds half a character" in str(caught.value)
    str(caught.value).encode()  # the message itself can be printed


def test_half_a_character_is_named_whatever_the_source(tokenizer):
    with pytest.raises(DataError, match="row 1: column 'answer' holds half a character"):
        encode_prompts([Prompt("a"), Prompt("b", {"answer": "\ud83d"})], tokenizer, max_tokens=9)
    with pytest.raises(DataError, match="the prompt of row 0 holds half a character"):
        encode_prompts([Prompt("a\ud83d")], tokenizer)
