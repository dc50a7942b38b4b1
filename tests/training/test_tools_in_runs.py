"""Tools in runs: what the policy is told about each of its calls, what is counted, and how conversations end."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from attrs import define, field

from morl import ConfigError, DataError, PluginError, RewardError, hookimpl, train
from morl.conversation.episodes import opened
from morl.conversation.talk import Talk
from morl.environments.python import PythonEnvironment
from morl.testing import CHAT_TEMPLATE, ScriptedReplies, tool_call
from morl.types import EncodedPrompt, EnvironmentAnswer, Prompt

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


class Recorder:
    @hookimpl
    def morl_rollouts_ready(self, rollouts):
        self.rollouts = rollouts


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


# Environments that fail ---------------------------------------------------------------------------------------------


@define(eq=False)
class Faulty:
    """Fails for some members, as `kind` says; counts what is open."""

    kind: str
    open_now: int = 0
    opened: int = 0
    reward_names = ("score",)
    lock: object = field(factory=threading.Lock)
    release: object = field(factory=threading.Event)

    def open(self, prompt, seed):
        with self.lock:
            self.opened += 1
            number = self.opened
        if self.kind == "open" and number == 1:
            raise ValueError("no room")
        with self.lock:
            self.open_now += 1
        return FaultyEpisode(self)


@define(eq=False)
class FaultyEpisode:
    owner: Faulty
    closed: bool = False

    def step(self, reply):
        assert not self.closed
        if "bad" in reply["content"]:
            match self.owner.kind:
                case "raises":
                    raise ValueError("broken")
                case "hangs":
                    self.owner.release.wait(20)
                case "contract":
                    return "an answer"
                case "reward":
                    return EnvironmentAnswer(done=True, rewards={"other": 1.0})
                case "goes on":
                    return EnvironmentAnswer([{"role": "user", "content": "and?"}])
                case "silent":
                    return EnvironmentAnswer()
                case "error":
                    raise RewardError("wrong input")
                case "interrupt":
                    raise KeyboardInterrupt
        return EnvironmentAnswer(done=True, rewards={"score": 1.0})

    def close(self):
        with self.owner.lock:
            self.owner.open_now -= not self.closed
        self.closed = True


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        ("raises", "environment_failed", "broken"),
        ("contract", "environment_failed", "EnvironmentAnswer"),
        ("reward", "environment_failed", "does not declare"),
        ("silent", "environment_failed", "no message"),
        ("hangs", "environment_timeout", "no answer within 0.3 s"),
        ("open", "environment_failed", "no room"),
    ],
)
@pytest.mark.parametrize("on_failure", ["abstain", "zero", "drop"])
def test_a_failure_is_told_apart_from_a_zero(settings, tmp_path, rows_of, kind, status, said, on_failure):
    environment = Faulty(kind)
    result, recorder = run_faulty(settings, tmp_path, environment, on_failure=on_failure, timeout=0.3)
    environment.release.set()
    (row,) = rows_of(result)
    assert environment.open_now == 0
    assert recorder.rollouts.statuses.count(status) == 1
    assert said in next(info["failure"] for info in recorder.rollouts.infos if "failure" in info)
    assert float(row["reward/score/failed"]) == 0.25
    assert float(row["reward/score/missing"]) == (0.0 if on_failure == "zero" else 0.25)
    assert float(row["reward/vowel/missing"]) == (0.0 if on_failure == "zero" else 0.25)
    assert float(row["completions/dropped"]) == (0.25 if on_failure == "drop" else 0.0)
    assert float(row[f"conversation/status/{status}"]) == 0.25


@pytest.mark.parametrize(("on_limit", "missing"), [("abstain", 0.25), ("zero", 0.0)])
def test_a_conversation_that_a_limit_ends_before_its_rewards_came(settings, tmp_path, rows_of, on_limit, missing):
    environment = Faulty("goes on")
    result, recorder = run_faulty(settings, tmp_path, environment, on_limit=on_limit, max_turns=1)
    (row,) = rows_of(result)
    assert sorted(recorder.rollouts.statuses) == ["completed"] * 3 + ["turn_limit"]
    given = [turns[-1].rewards.get("score") for turns in recorder.rollouts.turns]
    assert sorted(given, key=str) == ([1.0, 1.0, 1.0, None] if on_limit == "abstain" else [0.0, 1.0, 1.0, 1.0])
    assert float(row["reward/score/missing"]) == missing
    assert float(row["reward/score/failed"]) == 0.0


def test_what_a_prompt_lacks_of_the_columns_of_a_reset_is_refused(settings, tmp_path):
    class Counter:
        def reset(self, target):
            self.target = target

    with pytest.raises(DataError, match=r"no column 'target', which reward 'environment' needs"):
        run_faulty(settings, tmp_path, PythonEnvironment(Counter), script=lambda text, member, turn: pytest.fail(text))


def test_a_failure_ends_the_run_where_it_is_to(settings, tmp_path):
    environment = Faulty("raises")
    with pytest.raises(RewardError, match=r"environment failed in 1 of 4 conversations .*ValueError: broken"):
        run_faulty(settings, tmp_path, environment, on_failure="raise")
    assert environment.open_now == 0


def test_an_error_of_the_input_ends_the_run_and_every_episode(settings, tmp_path):
    environment = Faulty("error")
    with pytest.raises(RewardError, match="environment: wrong input"):
        run_faulty(settings, tmp_path, environment)
    assert environment.open_now == 0


def test_episodes_are_closed_when_sampling_is_interrupted(settings, tmp_path):
    environment, before = Faulty("fine"), {*threading.enumerate()}

    def interrupted(context, member, turn):
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run_faulty(settings, tmp_path, environment, script=interrupted)
    assert (environment.opened, environment.open_now) == (4, 0)
    assert not [each for each in {*threading.enumerate()} - before if each.name.startswith("morl-environment")]


def run_faulty(settings, tmp_path, environment, script=None, changes=None, **options):
    class Plugin(Recorder):
        @hookimpl
        def morl_register_environments(self):
            return {"faulty": lambda: environment}

    (tmp_path / "template.jinja").write_text(CHAT_TEMPLATE)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "how many?"}\n{"prompt": "and now?"}\n')
    config = settings(
        {
            "prompts": {
                "path": str(tmp_path / "prompts.jsonl"),
                "chat": True,
                "chat_template": str(tmp_path / "template.jinja"),
            },
            "rewards": {"vowel": {"name": "regex", "pattern": "[ae]"}},
            "environment": {"name": "faulty", "patience": None, **options},
            "training": {"steps": 1, "prompts_per_step": 2, "group_size": 2, "samples_every": 1},
            **(changes or {}),
        }
    )
    plugin = Plugin()
    script = script or (lambda text, member, turn: "bad" if member == 0 and "how many" in text else "good")
    return train(config, plugins=[plugin], rollout=ScriptedReplies(script)), plugin


@define(eq=False)
class Uneven:
    """One conversation is answered only when the others are over."""

    over: object = field(factory=threading.Event)
    waited: list = field(factory=list)
    reward_names = ("turns",)

    def open(self, prompt, seed):
        return UnevenEpisode(self)


@define(eq=False)
class UnevenEpisode:
    owner: Uneven
    turns: int = 0

    async def step(self, reply):
        self.turns += 1
        if "slow" in reply["content"]:
            while not self.owner.over.is_set():
                await asyncio.sleep(0.01)
            self.owner.waited.append(True)
            return EnvironmentAnswer(done=True, rewards={"turns": 1.0})
        if self.turns == 3:
            self.owner.over.set()
            return EnvironmentAnswer(done=True, rewards={"turns": 3.0})
        return EnvironmentAnswer([{"role": "user", "content": "on"}])

    async def close(self):
        await asyncio.sleep(0)


def test_a_slow_environment_does_not_hold_the_other_conversations(settings, tmp_path):
    def script(context, member, turn):
        return "slow" if (member, turn) == (0, 0) and "how many" in context else "fast"

    result, recorder = run_faulty(settings, tmp_path, Uneven(), script=script, patience=0.05)
    assert [len(turns) for turns in recorder.rollouts.turns].count(3) == 3
    assert recorder.rollouts.statuses == ("completed",) * 4
    assert result.rewards == ("vowel", "turns")


@define(eq=False)
class Broken:
    """An environment without rewards that never opens."""

    def open(self, prompt, seed):
        raise ConnectionError("nobody there")


def test_a_run_ends_whose_environment_always_fails(settings, tmp_path):
    with pytest.raises(
        RewardError, match=r"(?s)the environment failed in all 4 .*environment.max_failed_steps.*nobody there"
    ):
        run_faulty(settings, tmp_path, Broken())
    result, recorder = run_faulty(settings, tmp_path, Broken(), max_failed_steps=None, on_failure="zero", concurrency=1)
    assert recorder.rollouts.statuses == ("environment_failed",) * 4
    assert recorder.rollouts.lengths_B.tolist() == [0] * 4
    assert result.rewards == ("vowel",)


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_an_episode_that_opens_too_late_is_closed(kind):
    closed = []

    class Episode:
        def step(self, reply): ...

        def close(self):
            closed.append(True)
            return asyncio.sleep(0) if kind == "async" else None

    async def opening():
        return Episode()

    talk = Talk(EncodedPrompt(Prompt("x"), "x", (1,)), 0, 0, 0)
    assert talk.give_up() is None
    found = opened(talk, opening if kind == "async" else Episode)
    if kind == "async":
        asyncio.run(found)
    assert (closed, talk.episode) == ([True], None)


def test_episodes_of_a_prompt_that_begin_differently_are_refused(settings, tmp_path):
    class Episode(UnevenEpisode):
        messages = ()

    @define(eq=False)
    class Random(Uneven):
        number: int = 0

        def open(self, prompt, seed):
            episode = Episode(self)
            self.number += 1
            episode.messages = [{"role": "user", "content": f"I am {self.number}"}]
            return episode

    with pytest.raises(PluginError, match="must follow from the prompt and the seed"):
        run_faulty(settings, tmp_path, Random(), concurrency=1)


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


def test_functions_and_classes_may_be_passed_as_they_are(settings, tmp_path):
    """From Python; the run folder says what they were."""

    class Reaches:
        def reset(self, **row):
            self.last = 0

        def add(self, n: int) -> int:
            """Adds.

            Args:
                n: what is added.
            """
            self.last += n
            return self.last

        def get_reward(self):
            return self.last / 10

    def script(context, member, turn):
        return tool_call("add", n=member + 1) if turn == 0 else "done"

    changes = {"environment": {"name": "python", "factory": Reaches}, "sampling.max_tokens": 90}
    result, recorder = run_faulty(settings, tmp_path, Broken(), script=script, changes=changes)
    assert result.rewards == ("vowel", "Reaches")
    given = [turns[-1].rewards["Reaches"] for turns in recorder.rollouts.turns]
    assert given == pytest.approx([0.1, 0.2, 0.1, 0.2])
    assert "<class tests.training" in (result.folder / "config.yaml").read_text()
    row = json.loads((result.folder / "samples" / "step-000001.jsonl").read_text().splitlines()[0])
    assert row["turns"][0]["answers"][0]["content"] == "1"
    assert row["rewards"]["Reaches"] == pytest.approx(0.1)
