"""Tools in runs: what the policy is told about each of its calls, what is counted, and how conversations end."""

from __future__ import annotations

import pytest
from recorder import Recorder

from morl import ConfigError, PluginError, train
from morl.testing import CHAT_TEMPLATE, ScriptedReplies, tool_call

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


@pytest.fixture
def talk(settings, tmp_path, monkeypatch):
    """`talk(script, changes)`: the rollouts of one step, and its metrics."""

    monkeypatch.chdir(tmp_path)

    def run(script, changes=None, **environment):
        (tmp_path / "template.jinja").write_text(CHAT_TEMPLATE)
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
        recorder, backend = Recorder(), ScriptedReplies(script)
        config = settings({**base, **(changes or {})})
        if "name" in environment and environment["name"] != "tools":
            del config["environment"]["functions"]
        result = train(config, plugins=[recorder], rollout=backend)
        return result, recorder.rollouts, backend

    return run


def contents(turn):
    return [message["content"] for message in turn.answers]


def test_results_are_read_and_calls_counted(talk, rows_of):
    calls = tool_call("add", a=2, b=3) + tool_call("slow", text="hi") + tool_call("prints")
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
    foreign_B = rollouts.total_lengths_B - rollouts.lengths_B
    assert float(row["conversation/environment_tokens"]) == foreign_B.double().mean() > 20
    seconds = [info["conversation"]["seconds"] for info in rollouts.infos]
    assert float(row["conversation/environment_seconds"]) == pytest.approx(sum(seconds) / 4)
    assert min(seconds) > 0.001, "the tool waits so long"
    assert float(row["conversation/status/completed"]) == 1


def test_every_turn_of_every_member_has_a_seed_of_its_own(talk):
    _, _, backend = talk(lambda text, member, turn: tool_call("add", a=1, b=1), max_turns=3)
    first, second, third = backend.seeds
    assert (len(first), len(second), len(third)) == (2, 4, 4)
    assert len({*first, *second, *third}) == 10
    _, _, again = talk(lambda text, member, turn: tool_call("add", a=1, b=1), {"output": "again"}, max_turns=3)
    assert again.seeds == backend.seeds


@pytest.mark.parametrize(
    ("said", "told", "failed"),
    [
        (tool_call("fails", text="no"), "Error: ValueError: no", 1),
        (tool_call("hangs"), "Error: TimeoutError: no answer within 0.2 s", 1),
        (tool_call("huge", n=500), "x" * 50 + "\n... (450 of 500 characters left out)", 0),
        (tool_call("ad", a=1, b=2), "'ad'", 1),
        (tool_call("add", a=1), "'b'", 1),
        (tool_call("add", a=1, b="x"), "integer", 1),
        ("<tool_call>{'name'}</tool_call>", "JSON", 1),
        ('<tool_call>{"name": "add"', "", 1),
        (tool_call("add", a=1, b=2) + tool_call("nope"), "3", 1),
    ],
    ids=["raises", "hangs", "huge", "unknown", "missing", "type", "json", "unclosed", "one of two"],
)
def test_calls_that_go_wrong_are_answered_and_counted(talk, rows_of, said, told, failed):
    seconds = 0.2 if "TimeoutError" in told else 20  # a busy machine is no cause to fail
    said_at = {0: said}
    result, rollouts, _ = talk(lambda text, member, turn: said_at.get(turn, "so"), call_timeout=seconds, max_result=50)
    for turns, status in zip(rollouts.turns, rollouts.statuses, strict=True):
        assert status == "completed"
        assert told in contents(turns[0])[0]
        assert len(turns) == 2
    assert float(rows_of(result)[0]["conversation/failed_calls"]) == failed


@pytest.mark.parametrize(
    ("limits", "status", "turns"),
    [
        ({"max_turns": 3}, "turn_limit", 3),
        ({"max_tool_calls": 2}, "tool_limit", 3),
        ({"max_tokens": 300}, "token_limit", None),
    ],
    ids=["turns", "calls", "tokens"],
)
def test_every_limit_ends_a_conversation_with_its_status(talk, rows_of, limits, status, turns):
    result, rollouts, backend = talk(lambda text, member, turn: tool_call("add", a=turn, b=1), **limits)
    assert rollouts.statuses == (status,) * 4
    assert turns is None or [len(own) for own in rollouts.turns] == [turns] * 4
    assert float(rows_of(result)[0][f"conversation/status/{status}"]) == 1
    if "max_tokens" in limits:
        assert (rollouts.total_lengths_B <= 300).all()
    # Every context begins with the tokens sampled before, untouched.
    for before, after in zip(backend.contexts[1:], backend.contexts[2:], strict=False):
        assert all(long[: len(short)] == short for short, long in zip(before, after, strict=False))


def test_the_context_of_the_model_is_a_limit(talk, make_model_folder, tmp_path):
    text = "the answer is a number: 0 1 2 3 4 5 6 7 8 9. yes no " * 20
    small = make_model_folder(tmp_path / "small", text=text, max_position_embeddings=1900)
    _, rollouts, backend = talk(
        lambda text, member, turn: tool_call("add", a=turn, b=1),
        {"policy": {"path": str(small)}, "sampling.max_tokens": 80},
        max_turns=99,
    )
    assert rollouts.statuses == ("context_full",) * 4
    assert all(len(turns) > 1 for turns in rollouts.turns)
    assert max(len(ids) for call in backend.contexts for ids in call) < 1900


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "environment", "said"),
    [
        ({"prompts.chat": False, "prompts.chat_template": None}, {}, r"prompts: conversations need chats"),
        ({}, {"name": "tols"}, r"unknown environment 'tols'; did you mean 'tools'"),
        ({"environment": {"max_turns": 3}}, None, r"environment.name must name an environment"),
        ({}, {"max_tokens": 20}, r"environment.max_tokens=20 limits a whole conversation"),
        ({}, {"max_turns": 1, "max_tool_calls": 3}, r"max_tool_calls=3 has no effect with max_turns=1"),
        ({}, {"weight": 2.0}, r"environment.weight=2.0 has no effect"),
        ({}, {"on_limit": "zero"}, r"environment.on_limit=zero has no effect"),
        ({"rewards.environment": {"name": "length", "limit": 3}}, {}, r"rewards.environment: an entry of this name"),
        ({"tools": ["a:b"]}, {}, r"tools: stands for environment"),
        (
            {},
            {"call_format": "hermse"},
            r"environment.call_format: unknown call format 'hermse'; did you mean 'hermes'",
        ),
        ({}, {"functions": []}, r"functions must be a list of functions, one at least"),
        ({}, {"call_timeout": 0}, r"call_timeout must be positive"),
        ({}, {"max_result": -5}, r"max_result must be 1 character or more"),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_is_loaded(talk, monkeypatch, changes, environment, said):
    monkeypatch.setattr("morl.training.run.load_model", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises((ConfigError, PluginError), match=said):
        talk(lambda text, member, turn: "so", changes, **(environment or {}))
