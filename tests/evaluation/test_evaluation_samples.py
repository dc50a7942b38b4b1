"""Completions as rows of JSON: what is said of each, and of conversations every turn."""

from __future__ import annotations

import json

import torch

from morl.runtime.samples import rollout_rows
from morl.types import CompletionStatus, EncodedPrompt, Prompt, RolloutBatch, Turn


def batch(**changes):
    given = {
        "prompts": (EncodedPrompt(Prompt("2+2?"), "<user> 2+2?", (1, 2), 17),),
        "group_ids_B": torch.zeros(2, dtype=torch.int64),
        "completion_ids_BT": torch.ones(2, 4, dtype=torch.int64),
        "completion_mask_BT": torch.tensor([[True] * 4, [True, False, False, False]]),
        "rollout_logprobs_BT": torch.zeros(2, 4),
        "truncated_B": torch.tensor([False, True]),
        "texts": ("4", "cut"),
        "weights_versions_B": torch.zeros(2, dtype=torch.int64),
    }
    return RolloutBatch(**(given | changes))


COMMON = {"prompt_row": 17, "prompt": "<user> 2+2?"}


def test_completions_of_one_turn_say_how_they_ended():
    assert [*rollout_rows(batch())] == [
        {**COMMON, "completion": "4", "tokens": 4, "truncated": False, "status": "completed"},
        {**COMMON, "completion": "cut", "tokens": 1, "truncated": True, "status": "truncated"},
    ]


def test_conversations_show_their_turns():
    call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "add"}}]}
    last = {"role": "assistant", "content": "4"}
    answer = {"role": "tool", "content": "4"}
    turns = (
        (Turn(0, 1, "call", call, (answer,), rewards={"call": 1.0}), Turn(3, 4, "4", last)),
        (Turn(0, 1, "cut", {"role": "assistant", "content": "cut"}, truncated=True),),
    )
    sampled = torch.tensor([[True, False, False, True], [True, False, False, False]])
    statuses = (CompletionStatus.TURN_LIMIT, CompletionStatus.CONTEXT_FULL)
    rows = [*rollout_rows(batch(sampled_mask_BT=sampled, turns=turns, statuses=statuses))]
    assert json.loads(json.dumps(rows[0])) == {
        **COMMON,
        "completion": "4",
        "tokens": 2,
        "truncated": False,
        "status": "turn_limit",
        "environment_tokens": 2,
        "turns": [
            {"tokens": 1, "reply": call, "answers": [answer], "rewards": {"call": 1.0}},
            {"tokens": 1, "reply": last, "answers": [], "rewards": {}},
        ],
    }
    assert (rows[1]["status"], rows[1]["environment_tokens"], len(rows[1]["turns"])) == ("context_full", 0, 1)
