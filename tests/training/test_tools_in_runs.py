"""Tools in runs: what the policy is told about each of its calls, what is counted, and how conversations end."""

from __future__ import annotations

import json

import pytest
import torch
from attrs import define, field

from morl import hookimpl, train
from morl.types import RolloutBatch

TEMPLATE = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}"
    "{% for message in messages %}<{{ message.role }}> {{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<eos>{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)
TOOLS = '''
import asyncio, threading, time

def add(a: int, b: int) -> int:
    """Adds.

    Args:
        a: one number.
        b: another.
    """
    return a + b

async def slow(text: str) -> dict:
    """Answers later.

    Args:
        text: anything.
    """
    await asyncio.sleep(0.001)
    return {"text": text}

def fails(text: str) -> str:
    """Raises.

    Args:
        text: the message.
    """
    raise ValueError(text)

def hangs() -> None:
    """Never answers."""
    threading.Event().wait()

def huge(n: int) -> str:
    """Says much.

    Args:
        n: letters.
    """
    return "x" * n

def prints() -> None:
    """Prints."""
    print("printed")
'''


def call(name, **arguments):
    return "<tool_call>" + json.dumps({"name": name, "arguments": arguments}) + "</tool_call>"


@define(eq=False, slots=False)
class Scripted:
    """Says what `script(prompt text, member, turn)` says, or "done"."""

    script: object
    contexts: list = field(factory=list)
    in_process = False

    def start(self, policy, tokenizer, model_path):
        self._tokenizer = tokenizer

    def sync_weights(self, version):
        self._version = version

    def close(self):
        pass

    def generate(self, prompts, n, sampling, seeds):
        rows = []
        for prompt in prompts:
            text = self._tokenizer.decode(prompt.token_ids)
            self.contexts.append(prompt.token_ids)
            turn = text.count("<assistant> ") - 1
            for member in range(n):
                said = self.script(text, member, turn)
                ids = self._tokenizer.encode(said + "<eos>")
                rows.append((said, ids[: sampling.max_tokens], len(ids) > sampling.max_tokens))
        longest = max(len(ids) for _, ids, _ in rows)
        ids_BT = torch.zeros(len(rows), longest, dtype=torch.int64)
        mask_BT = torch.zeros(len(rows), longest, dtype=torch.bool)
        for b, (_, ids, _) in enumerate(rows):
            ids_BT[b, : len(ids)] = torch.tensor(ids)
            mask_BT[b, : len(ids)] = True
        return RolloutBatch(
            prompts=tuple(prompts),
            group_ids_B=torch.arange(len(prompts)).repeat_interleave(n),
            completion_ids_BT=ids_BT,
            completion_mask_BT=mask_BT,
            rollout_logprobs_BT=torch.zeros(len(rows), longest),
            truncated_B=torch.tensor([cut for *_, cut in rows]),
            texts=tuple(self._tokenizer.decode(ids, skip_special_tokens=True) for _, ids, _ in rows),
            weights_versions_B=torch.full((len(rows),), self._version),
        )


class Recorder:
    @hookimpl
    def morl_rollouts_ready(self, rollouts):
        self.rollouts = rollouts


@pytest.fixture
def talk(settings, tmp_path):
    """`talk(script, changes)`: the rollouts of one step, and its metrics."""

    def run(script, changes=None, **environment):
        (tmp_path / "template.jinja").write_text(TEMPLATE)
        (tmp_path / "tools.py").write_text(TOOLS)
        (tmp_path / "prompts.jsonl").write_text('{"prompt": "how many?"}\n{"prompt": "and now?"}\n')
        tools = [f"{tmp_path / 'tools.py'}:{name}" for name in ("add", "slow", "fails", "hangs", "huge", "prints")]
        base = {
            "prompts": {
                "path": str(tmp_path / "prompts.jsonl"),
                "chat": True,
                "chat_template": str(tmp_path / "template.jinja"),
            },
            "rewards": {"vowel": {"name": "regex", "pattern": "[ae]"}},
            "environment": {"name": "tools", "functions": tools, "patience": None, **environment},
            "sampling.max_tokens": 200,
            "training": {"steps": 1, "prompts_per_step": 2, "group_size": 2, "samples_every": 1},
        }
        recorder, backend = Recorder(), Scripted(script)
        result = train(settings({**base, **(changes or {})}), plugins=[recorder], rollout=backend)
        return result, recorder.rollouts, backend

    return run


def contents(turn):
    return [message["content"] for message in turn.answers]


def test_results_are_read_and_calls_counted(talk, rows_of):
    calls = call("add", a=2, b=3) + call("slow", text="hi") + call("prints")
    result, rollouts, _ = talk(lambda text, member, turn: calls if turn == 0 else "five")
    assert rollouts.statuses == ("completed",) * 4
    for turns in rollouts.turns:
        assert [turn.text for turn in turns] == [calls, "five"]
        assert contents(turns[0]) == ["5", '{"text": "hi"}', "null"]
        assert [message["name"] for message in turns[0].answers] == ["add", "slow", "prints"]
        assert turns[0].reply["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 2, "b": 3}}
    (row,) = rows_of(result)
    assert float(row["conversation/tool_calls"]) == 3
    assert float(row["conversation/failed_calls"]) == 0
    assert float(row["conversation/turns"]) == 2
    assert float(row["conversation/status/completed"]) == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (call("fails", text="no"), "Error: ValueError: no"),
        (call("hangs"), "Error: TimeoutError: no answer within 0.2 s"),
        (call("huge", n=5000), "x" * 50 + "\n... (4950 of 5000 characters left out)"),
    ],
    ids=["raises", "hangs", "huge"],
)
def test_calls_that_go_wrong(talk, said, told):
    _, rollouts, _ = talk(lambda text, member, turn: said if turn == 0 else "so", call_timeout=0.2, max_result=50)
    for turns, status in zip(rollouts.turns, rollouts.statuses, strict=True):
        assert (status, contents(turns[0])) == ("completed", [told])
