"""Copies share nothing that can be written to, and everything that cannot."""

from __future__ import annotations

from collections import OrderedDict

import torch
from attrs import fields

from morl.advantage import GDPO
from morl.copies import copied
from morl.types import Completion, CompletionStatus, Prompt, RewardMatrix, Turn


class Image:
    """What morl does not know."""


def conversation():
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": [1, 2]}}}
    reply = {"role": "assistant", "content": "x", "tool_calls": [call]}
    turn = Turn(0, 3, "x", reply, ({"role": "tool", "content": "3"},), rewards={"right": 1.0})
    columns = {"answer": "3", "tests": ["a", ["b"]], "image": Image(), "kind": OrderedDict(a={1}), "pair": ([1], 2)}
    prompt = Prompt([{"role": "user", "content": "1+2?"}], columns)
    status = CompletionStatus.TURN_LIMIT
    return Completion(prompt, "x", tuple(range(1000, 1003)), turns=(turn,), status=status, info={"seen": [1]})


def test_a_copy_says_the_same():
    original, copy = conversation(), copied(conversation())
    assert copy.messages == original.messages
    assert copy.turns[0].rewards == original.turns[0].rewards
    for name in ("text", "token_ids", "truncated", "status", "info", "length"):
        assert getattr(copy, name) == getattr(original, name)


def test_a_copy_leaves_its_original_alone():
    original = conversation()
    copy = copied(original)
    copy.prompt.columns["tests"][1].append("c")
    copy.prompt.columns["pair"][0].append(3)
    copy.turns[0].reply["tool_calls"][0]["function"]["arguments"]["a"].append(3)
    copy.turns[0].rewards["right"] = 0.0
    copy.info["seen"].append(2)
    assert original.prompt.columns["tests"] == ["a", ["b"]]
    assert original.prompt.columns["pair"] == ([1], 2)
    assert original.turns[0].reply["tool_calls"][0]["function"]["arguments"] == {"a": [1, 2]}
    assert original.turns[0].rewards == {"right": 1.0}
    assert original.info == {"seen": [1]}


def test_what_cannot_be_written_to_is_shared():
    original = conversation()
    copy = copied(original)
    assert copy.token_ids is original.token_ids
    assert copy.prompt.columns["image"] is original.prompt.columns["image"]
    spans = tuple(((0, 1), (2, 3)) for _ in range(3))
    matrix = RewardMatrix(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64), ("r",), spans=spans)
    assert copied(matrix).spans is spans
    assert copied(matrix).values_BK is not matrix.values_BK


def test_a_list_where_a_tuple_is_due_is_copied_all_the_same():
    original = Completion(Prompt("p"), "x", [1, 2, 3])
    copied(original).token_ids.append(4)
    assert original.token_ids == [1, 2, 3]


def test_completions_of_one_prompt_keep_sharing_it():
    prompt = Prompt("p", {"tests": []})
    first, second = copied(tuple(Completion(prompt, text, ()) for text in "ab"))
    assert first.prompt is second.prompt is not prompt


def test_other_classes_of_morl_are_copied_too():
    """Even those whose annotations cannot be looked up at run time."""
    copy = copied(GDPO(ddof=0))
    assert [getattr(copy, field.name) for field in fields(GDPO)] == [
        getattr(GDPO(ddof=0), field.name) for field in fields(GDPO)
    ]
