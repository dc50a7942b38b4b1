"""A class in TRL's form as an environment: tools, reset, rewards, and what becomes of its instances."""

from __future__ import annotations

import asyncio
import gc
import math
import sqlite3
import threading

import numpy as np
import pytest

from morl import ConfigError, PluginError, Prompt
from morl.conversation.answers import AnswerError, check_rewards
from morl.environments.python import PythonEnvironment
from morl.testing import check_environment
from morl.types import CompletionStatus


class Adder:
    """As TRL's documentation has it."""

    made = 0
    closed = 0

    def __init__(self):
        Adder.made += 1

    def reset(self, **row):
        self.target, self.sum, self.asked = row.get("target", 3), 0, row["prompt"]
        return f" Reach {self.target}."

    def add(self, n: int) -> int:
        """Adds to the sum.

        Args:
            n: what is added.
        """
        self.sum += n
        return self.sum

    async def later(self, n: int) -> dict:
        """Adds later.

        Args:
            n: what is added.
        """
        await asyncio.sleep(0)
        if n < 0:
            raise ValueError("only up")
        return {"sum": self.add(n)}

    def _hidden(self):
        pass

    def get_reward(self):
        return float(self.sum == self.target)

    def close(self):
        Adder.closed += 1


class Several(Adder):
    async def get_reward(self):
        return {"right": float(self.sum == self.target), "close": None}


class Undescribed:
    def reset(self, **row):
        pass

    def act(self, x):
        return x


def reply(*calls):
    made = [
        {"type": "function", "id": f"call{n}", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": "", **({"tool_calls": made} if made else {})}


PROMPTS = [
    Prompt([{"role": "system", "content": "s"}, {"role": "user", "content": "Go."}], {"target": n}) for n in (2, 5)
]


@pytest.mark.parametrize("kind", [Adder, Several])
def test_it_keeps_what_every_environment_has_to(kind):
    names = None if kind is Adder else ("right", "close")

    def policy(messages):
        said = [message["content"] for message in messages if message["role"] == "tool"]
        return reply(("add", {"n": 1}), ("later", {"n": 1})) if len(said) < 4 else reply()

    check_environment(lambda: PythonEnvironment(kind, reward_names=names), PROMPTS, policy)


def test_one_conversation():
    environment = PythonEnvironment(Adder)
    assert environment.reward_names == ("Adder",)
    assert [tool["function"]["name"] for tool in environment.tools] == ["add", "later"]

    async def talk():
        episode = await environment.open(PROMPTS[0], 0)
        assert [message["content"] for message in episode.prompt] == ["s", "Go. Reach 2."]
        assert episode.instance.asked == [dict(message) for message in PROMPTS[0].messages]
        first = await episode.step(reply(("add", {"n": 2}), ("later", {"n": -1}), ("later", {"n": 0})))
        assert [message["content"] for message in first.messages] == ["2", "Error: ValueError: only up", '{"sum": 2}']
        assert (first.done, first.info) == (False, {"failed_calls": 1})
        last = await episode.step(reply())
        assert last.done
        assert await episode.finish(CompletionStatus.COMPLETED) == {"Adder": 1.0}
        episode.close()
        episode.close()
        return episode.instance

    instance = asyncio.run(talk())
    before = Adder.made, Adder.closed
    assert asyncio.run(environment.open(PROMPTS[1], 0)).instance is instance  # pooled, as TRL does
    assert (Adder.made, Adder.closed) == before


class Says:
    """Begins with what the row says."""

    def reset(self, said, **row):
        return said


@pytest.mark.parametrize(
    ("said", "content"),
    [
        (None, "Go."),
        ("", "Go."),
        (" Now.", "Go. Now."),
        ([{"type": "text", "text": " Now"}, {"type": "text", "text": "."}], "Go. Now."),
    ],
)
def test_what_reset_says_is_put_behind_the_prompt(said, content):
    prompt = Prompt([{"role": "user", "content": "Go."}], {"said": said})
    environment = PythonEnvironment(Says)
    episode = asyncio.run(environment.open(prompt, 0))
    assert [dict(message) for message in episode.prompt or prompt.messages] == [{"role": "user", "content": content}]
    episode.close()
    environment.close()


@pytest.mark.parametrize("said", [[{"role": "user", "content": "Go!"}], [], {"text": "a"}, 3, b"a"])
def test_what_reset_may_not_say(said):
    environment = PythonEnvironment(Says)
    with pytest.raises(TypeError, match=r"reset\(\) must return text, or None; got (list|dict|int|bytes)"):
        asyncio.run(environment.open(Prompt("Go.", {"said": said}), 0))
    environment.close()


@pytest.mark.parametrize(
    ("given", "names", "expected"),
    [
        (True, None, {"Paid": 1.0}),
        (np.float32(0.5), None, {"Paid": 0.5}),
        (None, None, {"Paid": None}),
        ({"a": False, "b": None}, ["a", "b"], {"a": 0.0, "b": None}),
        ({"a": 2}, ["a", "b"], {"a": 2.0, "b": None}),
        (None, ["a", "b"], {"a": None, "b": None}),
        (math.nan, None, "must be a finite number or None; got nan"),
        ("1", None, "must be a finite number or None; got '1'"),
        ({"a": math.inf}, ["a"], "reward 'a' must be a finite number or None; got inf"),
        ({"a": 1, "c": 3}, ["a", "b"], "gives the reward 'c', which reward_names"),
        ({1: 2}, ["a"], "gives the reward 1, which reward_names"),
        (1.0, ["a", "b"], "must return a mapping of a, b, as reward_names says; got 1.0"),
    ],
)
def test_what_get_reward_may_return(given, names, expected):
    class Paid(Says):
        def get_reward(self):
            return given

    async def rewards():
        episode = await environment.open(Prompt("Go.", {"said": None}), 0)
        return check_rewards(await episode.finish(CompletionStatus.COMPLETED), environment.reward_names)

    environment = PythonEnvironment(Paid, reward_names=names)
    if isinstance(expected, str):
        with pytest.raises((AnswerError, PluginError), match=expected):
            asyncio.run(rewards())
    else:
        assert asyncio.run(rewards()) == expected


class Unready:
    """Holds something from the beginning on, and cannot be reset."""

    held = 0

    def __init__(self):
        Unready.held += 1

    def reset(self, how="raises", **row):
        if how == "hangs":
            threading.Event().wait()
        if how == "raises":
            raise ValueError("no room")
        return None if how == "well" else 3

    async def close(self):
        Unready.held -= 1
        raise OSError("nor can it be closed well")


@pytest.mark.parametrize("how", ["raises", "says a number", "hangs"])
def test_an_instance_that_cannot_be_reset_is_closed(how, caplog):
    environment = PythonEnvironment(Unready)

    async def open_it():
        return await asyncio.wait_for(environment.open(Prompt("go", {"how": how}), 0), 0.2 if how == "hangs" else None)

    expected = {"raises": ValueError, "says a number": TypeError, "hangs": TimeoutError}[how]
    with pytest.raises(expected):
        asyncio.run(open_it())
    environment.close()
    assert Unready.held == 0
    assert "could not be closed: OSError: nor can it be closed well" in caplog.text


def test_an_instance_whose_async_close_fails_says_so():
    environment = PythonEnvironment(Unready)
    episode = asyncio.run(environment.open(Prompt("go", {"how": "well"}), 0))
    episode.close()
    with pytest.raises(RuntimeError, match="nor can it be closed well"):
        environment.close()


def test_an_instance_that_failed_is_closed_and_not_used_again():
    class Breaks(Adder):
        def get_reward(self):
            raise RuntimeError("broken")

    environment = PythonEnvironment(Breaks)

    async def talk():
        episode = await environment.open(PROMPTS[0], 0)
        with pytest.raises(RuntimeError, match="broken"):
            await episode.finish(CompletionStatus.COMPLETED)
        await episode.close()
        return episode.instance

    before = Adder.closed
    instance = asyncio.run(talk())
    assert Adder.closed == before + 1
    assert asyncio.run(environment.open(PROMPTS[0], 0)).instance is not instance


class Ledger:
    """Holds a connection that only the thread which made it may use, as one of TRL's users may write it."""

    def __init__(self):
        self.connection, self.thread = sqlite3.connect(":memory:"), threading.get_ident()
        self.connection.execute("create table sums (n int)")

    def reset(self, **row) -> str | None:
        self.connection.execute("delete from sums")
        return None

    def note(self, function: int) -> str:
        """
        Note a number.

        Args:
            function: The number to note, in an argument that is called as others of morl's functions are.

        Returns:
            The sum of all numbers.
        """
        self.connection.execute("insert into sums values (?)", (function,))
        return self.total()

    def total(self) -> str:
        """
        Add up.

        Returns:
            The sum of all numbers.
        """
        return f"{self.connection.execute('select sum(n) from sums').fetchone()[0]}"

    def get_reward(self) -> float:
        return float(self.total())

    def close(self):
        self.connection.close()


@pytest.mark.parametrize("factory", [Ledger, lambda: Ledger()], ids=["class", "function"])
def test_everything_of_an_instance_happens_in_one_thread(factory):
    before = {*threading.enumerate()}

    async def talk(environment):
        episodes = [await environment.open(prompt, 0) for prompt in PROMPTS]
        for number, episode in enumerate(episodes, 1):
            answer = await episode.step(reply(("note", {"function": number}), ("note", {"function": 10})))
            assert [message["content"] for message in answer.messages] == [f"{number}", f"{number + 10}"]
            assert await episode.finish(CompletionStatus.COMPLETED) == {"Ledger": number + 10.0}
            episode.close()
        return {episode.instance.thread for episode in episodes}

    environment = PythonEnvironment(factory)
    threads = asyncio.run(talk(environment))
    assert len(threads) == 2
    assert asyncio.run(talk(environment)) == threads
    environment.close()  # raises where another thread closes the connection
    assert {*threading.enumerate()} <= before


def test_an_instance_that_never_answers_is_closed_beside_its_call():
    gate = threading.Event()

    class Hangs(Adder):
        def add(self, n: int) -> int:
            """Waits.

            Args:
                n: nothing.
            """
            gate.wait(60)
            return n

    async def talk():
        episode = await PythonEnvironment(Hangs).open(PROMPTS[0], 0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(episode.step(reply(("add", {"n": 1}))), 0.05)
        await episode.close()

    before = Adder.closed
    asyncio.run(talk())
    gate.set()
    assert Adder.closed == before + 1


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
def test_an_instance_that_is_made_too_late_is_closed(asynchronous):
    gate, closed = threading.Event(), threading.Event()

    class Slow(Adder):
        def __init__(self):
            gate.wait(60)

        def close(self):
            closed.set()

    class Later(Slow):
        async def close(self):
            closed.set()

    environment = PythonEnvironment(Later if asynchronous else Slow)

    async def open_it():
        return await asyncio.wait_for(environment.open(PROMPTS[0], 0), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(open_it())
    gate.set()
    assert closed.wait(60)


def test_the_thread_of_an_environment_that_nobody_closes_ends():
    before = {*threading.enumerate()}
    environment = PythonEnvironment(Adder)
    asyncio.run(environment.open(PROMPTS[0], 0)).close()
    (thread,) = {*threading.enumerate()} - before
    del environment
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


def test_methods_that_block_do_not_block_each_other():
    gate = threading.Barrier(2)

    class Waits(Adder):
        def add(self, n: int) -> int:
            """Waits for another.

            Args:
                n: nothing.
            """
            gate.wait(20)
            return n

    environment = PythonEnvironment(Waits)

    async def both():
        episodes = [await environment.open(prompt, 0) for prompt in PROMPTS]
        return await asyncio.gather(*(episode.step(reply(("add", {"n": 1}))) for episode in episodes))

    assert [answer.messages[0]["content"] for answer in asyncio.run(both())] == ["1", "1"]


def test_rewards_by_name_have_to_be_declared():
    class Undeclared(Several):
        pass

    environment = PythonEnvironment(Undeclared)

    async def talk():
        episode = await environment.open(PROMPTS[0], 0)
        await episode.finish(CompletionStatus.COMPLETED)

    with pytest.raises(PluginError, match=r"environment.reward_names: \[right, close\]"):
        asyncio.run(talk())


class Needy(Adder):
    def __init__(self, url):
        pass


class Asking(Adder):
    def get_reward(self, completion):
        return 0.0


class Positional(Adder):
    def reset(self, row, /):
        pass


class Named(Adder):
    def reset(self, target, *, start=0):
        self.target, self.sum = target, start


def test_a_reset_without_row_is_given_what_it_names_and_needs_it():
    environment = PythonEnvironment(Named)
    assert environment.required_columns == ("target",)
    assert PythonEnvironment(Adder).required_columns == ()
    prompt = Prompt([{"role": "user", "content": "Add."}], {"target": 5, "other": 1})
    episode = asyncio.run(environment.open(prompt, 0))
    assert (episode.instance.target, episode.instance.sum) == (5, 0)


def fails():
    raise ConnectionError("no server")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"factory": "morl.types:Prompt"}, "Prompt is no environment: it has no method `reset`"),
        ({"factory": "nowhere:Env"}, "no module 'nowhere'"),
        ({"factory": 3}, "factory must be a class"),
        ({"factory": type("Plain", (), {"reset": lambda self, **row: None}), "reward_names": ["a"]}, "has no effect"),
        (
            {
                "factory": type("Paid", (), {"reset": lambda self, **row: None, "get_reward": lambda self: 1}),
                "reward_names": [],
            },
            "leaves Paid.get_reward.. without a reward",
        ),
        ({"factory": Undescribed}, "act"),
        ({"factory": Needy}, "called without arguments, and Needy refuses that: missing a required argument: 'url'"),
        ({"factory": Asking}, "Asking.get_reward is called without arguments, and refuses that: .*'completion'"),
        (
            {"factory": Positional},
            "Positional.reset is given the columns of a row by name, and its argument 'row' cannot",
        ),
        ({"factory": fails}, "factory failed to make an instance: ConnectionError: no server"),
        ({"factory": Adder, "max_result": 0}, "max_result must be 1 character or more, or null; got 0"),
    ],
    ids=[
        "no reset",
        "no module",
        "no class",
        "no rewards",
        "no name",
        "no schema",
        "no argument",
        "asks",
        "positional",
        "no server",
        "no result",
    ],
)
def test_what_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        PythonEnvironment(**options)
