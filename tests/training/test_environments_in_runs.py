"""Environments in runs: which failures are told apart, what is waited for, what is closed, and what ends the run."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from attrs import define, field
from recorder import Recorder

from morl import DataError, PluginError, RewardError, hookimpl, train
from morl.conversation.episodes import opened
from morl.conversation.talk import Talk
from morl.environments.python import PythonEnvironment
from morl.testing import CHAT_TEMPLATE, ScriptedReplies, tool_call
from morl.types import EncodedPrompt, EnvironmentAnswer, Prompt, Sampling


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
                case "info":
                    return EnvironmentAnswer(done=True, info="solved")
                case "figures":
                    return EnvironmentAnswer(done=True, info={"conversation": {"tool_calls": 3}})
                case "half a character":
                    return EnvironmentAnswer([{"role": "user", "content": "a\ud800"}])
                case "no float":
                    return EnvironmentAnswer(done=True, rewards={"score": 10**400})
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
        ("info", "environment_failed", "`info` must be a mapping"),
        ("figures", "environment_failed", "what morl counts"),
        ("half a character", "environment_failed", "no valid Unicode"),
        ("no float", "environment_failed", "must be a finite number or None"),
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
    # Under "zero" the others score what was said, and nothing was where the episode never began.
    assert float(row["reward/vowel/missing"]) == (0.0 if on_failure == "zero" and kind != "open" else 0.25)
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


class Undecided:
    """Gives one of its rewards only to who came to an end by itself."""

    def reset(self, **row):
        self.asked = 0

    def ask(self) -> int:
        """Asks."""
        self.asked += 1
        return self.asked

    def get_reward(self):
        return {"solved": None if self.asked else 1.0, "asked": float(self.asked)}


@pytest.mark.parametrize(("on_limit", "solved"), [("abstain", None), ("zero", 0.0)])
def test_what_get_reward_leaves_open_after_a_limit(settings, tmp_path, rows_of, on_limit, solved):
    def script(context, member, turn):
        return tool_call("ask") if member == 0 else "done"

    environment = PythonEnvironment(Undecided, reward_names=["solved", "asked"])
    options = {"on_limit": on_limit, "max_turns": 2}
    _, recorder = run_faulty(settings, tmp_path, environment, script, {"sampling.max_tokens": 90}, **options)
    assert recorder.rollouts.statuses == ("turn_limit", "completed") * 2
    given = [dict(turns[-1].rewards) for turns in recorder.rollouts.turns]
    assert given == [{"solved": solved, "asked": 2.0}, {"solved": 1.0, "asked": 0.0}] * 2


class Long:
    """Begins one of the two prompts with more than the model has room for."""

    def reset(self, prompt, **row):
        return "0" * (5000 if "how many" in str(prompt) else 1)

    def get_reward(self):
        return 0.5


def test_what_was_never_said_is_not_scored(settings, tmp_path, rows_of):
    changes = {"rewards": {"short": {"name": "length", "limit": 50}}, "sampling.max_tokens": 4}
    result, recorder = run_faulty(settings, tmp_path, PythonEnvironment(Long), lambda *_: "a", changes)
    (row,) = rows_of(result)
    assert recorder.rollouts.statuses == ("context_full", "context_full", "completed", "completed")
    assert recorder.rollouts.lengths_B.tolist() == [0, 0, 2, 2]
    for name in ("short", "Long"):
        assert float(row[f"reward/{name}/missing"]) == 0.5
        assert float(row[f"reward/{name}/failed"]) == 0.0
    assert float(row["completions/dropped"]) == 0.0


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


class Unclosable:
    """A class of the user's; its reward is one of another library, and closing it fails."""

    reward: object = 0.5

    def reset(self, **row): ...

    def get_reward(self):
        return type(self).reward

    def close(self):
        raise SystemExit(3)


@pytest.mark.parametrize(
    "reward", [np.float32(0.5), np.array([0.5]), torch.tensor(0.5, requires_grad=True), Decimal("0.5"), Fraction(1, 2)]
)
def test_rewards_are_numbers_of_any_kind_and_a_run_ends_well_that_cannot_close(
    settings, tmp_path, rows_of, caplog, reward
):
    Unclosable.reward = reward
    (tmp_path / "template.jinja").write_text(CHAT_TEMPLATE)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "how many?"}\n')
    prompts = {"path": str(tmp_path / "prompts.jsonl"), "chat": True, "chat_template": str(tmp_path / "template.jinja")}
    config = settings(
        {
            "prompts": prompts,
            "environment": {"name": "python", "factory": Unclosable},
            "training": {"steps": 1, "prompts_per_step": 1, "group_size": 2},
        }
    )
    result = train(config, rollout=ScriptedReplies(lambda text, member, turn: "a" * (member + 1)))
    assert float(rows_of(result)[0]["reward/Unclosable/mean"]) == 0.5
    assert "the environment could not be closed: RuntimeError: SystemExit: 3" in caplog.text


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
        RewardError,
        match=r"(?s)the environment failed in all 4 .*: ConnectionError: nobody there\n.*environment.max_failed_steps",
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

    talk = Talk(EncodedPrompt(Prompt("x"), "x", (1,)), 0, 0, 0, Sampling())
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


def test_reward_functions_of_trl_read_the_messages_of_a_conversation(settings, tmp_path, rows_of):
    """Of their own each, so that they may change what they read."""
    seen = []

    def structure_reward(completions, **kwargs):
        seen.extend(completions)
        called = [any(message.get("tool_calls") for message in completion) for completion in completions]
        for completion in completions:
            completion[0].clear()
        return [
            float(one and completion[-1]["content"] == "done")
            for one, completion in zip(called, completions, strict=True)
        ]

    class Echo:
        def reset(self, **kwargs) -> str | None:
            return None

        def echo(self, message: str) -> str:
            """
            Echo the message back from the environment.

            Args:
                message: The message to echo

            Returns:
                The echoed message.
            """
            return message

        def sort(self, numbers: list[int]) -> list[int]:
            """
            Sort numbers where they are.

            Args:
                numbers: The numbers
            """
            numbers.sort()
            return numbers

    def script(context, member, turn):
        calls = tool_call("echo", message="hi") + tool_call("sort", numbers=[2, 1])
        return calls if (member, turn) == (1, 0) else "done"

    changes = {
        "environment": {"name": "python", "factory": Echo},
        "rewards": {"structure": {"name": "python", "function": structure_reward}},
        "sampling.max_tokens": 180,
    }
    result, recorder = run_faulty(settings, tmp_path, Broken(), script=script, changes=changes)
    (row,) = rows_of(result)
    assert float(row["reward/structure/mean"]) == 0.5
    assert [len(completion) for completion in seen] == [1, 4, 1, 4]
    assert [message["content"] for message in seen[1][1:]] == ["hi", "[1, 2]", "done"]
    calls = recorder.rollouts.turns[1][0].reply["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == [{"message": "hi"}, {"numbers": [2, 1]}]


HANGING = """
import sys, time
from pathlib import Path
from morl import train
from morl.testing import ScriptedReplies, tiny_chat_model, tool_call

def hang(x: int) -> str:
    \"\"\"Never answers.

    Args:
        x: anything.
    \"\"\"
    print("asked", flush=True)
    time.sleep(1000)

folder = Path(sys.argv[1])
(folder / "prompts.jsonl").write_text('{"prompt": "A"}')
config = {
    "output": str(folder / "run"),
    "policy": {"path": tiny_chat_model(folder / "model")},
    "prompts": {"path": str(folder / "prompts.jsonl"), "chat": True},
    "environment": {"name": "tools", "functions": [hang], "call_timeout": None, "timeout": None},
    "rewards": {"short": {"name": "length", "limit": 20}},
    "rollout": {"lag": 1},
    "training": {"steps": 2, "prompts_per_step": 2, "group_size": 2},
    "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
}
train(config, rollout=ScriptedReplies(lambda context, member, turn: tool_call("hang", x=1)))
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_run_whose_tool_never_answers_while_it_samples_ahead(tmp_path):
    (tmp_path / "hanging.py").write_text(HANGING)
    command = [sys.executable, str(tmp_path / "hanging.py"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert any("asked" in line for line in run.stdout)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=600)
    assert run.returncode == 1, said
