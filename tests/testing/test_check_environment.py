"""`check_environment` lets right environments pass, sync and async ones, and catches each fault by name."""

from __future__ import annotations

import random
import threading
from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import define, evolve, field

from morl.testing import check_environment
from morl.types import EnvironmentAnswer, Prompt

PROMPTS = [Prompt("guess", {"highest": 6}), Prompt([{"role": "user", "content": "guess!"}], {"highest": 9})]


def say(content: str, *calls: str) -> dict[str, Any]:
    reply: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        reply["tool_calls"] = [
            {"type": "function", "id": f"call{number}", "function": {"name": name, "arguments": {}}}
            for number, name in enumerate(calls)
        ]
    return reply


def guess_upwards(messages: Any) -> dict[str, Any]:
    """Guesses 1, 2, 3, ..., and asks the tools for a hint at first."""
    replies = sum(message["role"] == "assistant" for message in messages)
    return say("", "hint", "hint") if replies == 0 else say(str(replies))


@define(eq=False)
class GuessEpisode:
    """The policy guesses a number."""

    highest: int
    source: random.Random
    log: list[str]
    number: int = field(init=False)
    guesses: int = 0

    def __attrs_post_init__(self) -> None:
        self.number = self.source.randint(1, self.highest)

    def step(self, reply: Any) -> Any:
        if calls := reply.get("tool_calls"):
            hints = [{"role": "tool", "content": f"at most {self.highest}", "tool_call_id": c["id"]} for c in calls]
            return EnvironmentAnswer(hints, rewards={"calls": float(len(calls))})
        self.guesses += 1
        if reply["content"] == str(self.number):
            return EnvironmentAnswer(done=True, rewards={"solved": 1.0, "early": None if self.highest > 6 else 0.5})
        return EnvironmentAnswer([{"role": "user", "content": f"no {self.source.random()}"}])

    def close(self) -> Any:
        self.log.append("closed")


@define(eq=False)
class Guess:
    reward_names: ClassVar[tuple[str, ...]] = ("solved", "early", "calls")
    episode: Any = GuessEpisode
    log: list[str] = field(factory=list)

    def open(self, prompt: Prompt, seed: int) -> Any:
        self.log.append("opened")
        return self.episode(prompt.columns["highest"], random.Random(seed), self.log)

    def close(self) -> None:
        self.log.append("environment closed")


class AsyncEpisode(GuessEpisode):
    messages = ({"role": "user", "content": "I think of a number."},)
    tools = ({"type": "function", "function": {"name": "hint", "parameters": {}}},)

    async def step(self, reply: Any) -> Any:
        return super().step(reply)

    async def close(self) -> None:
        super().close()


class AsyncGuess(Guess):
    async def open(self, prompt: Prompt, seed: int) -> Any:
        return super().open(prompt, seed)


@pytest.mark.parametrize("make", [Guess, lambda: AsyncGuess(AsyncEpisode)], ids=["sync", "async"])
def test_a_right_environment_passes_and_all_its_episodes_are_closed(make: Any) -> None:
    environment = make()
    check_environment(lambda: environment, PROMPTS, guess_upwards)
    opened, closed = environment.log.count("opened"), environment.log.count("closed")
    assert opened == 11, "alone, again, side by side, with every seed, cut short"
    assert closed == opened + 2, "those that were cut short are closed twice"
    assert environment.log[-1] == "environment closed"


class Unwell(GuessEpisode):
    def step(self, reply: Any) -> Any:
        raise RuntimeError("the environment is down")


def test_episodes_are_closed_where_the_environment_raises() -> None:
    environment = Guess(Unwell)
    with pytest.raises(RuntimeError, match="is down"):
        check_environment(lambda: environment, PROMPTS, guess_upwards)
    assert environment.log == ["opened", "closed", "environment closed"]


def test_one_prompt_is_not_enough() -> None:
    with pytest.raises(ValueError, match="two prompts at least; got 1"):
        check_environment(Guess, PROMPTS[:1], guess_upwards)


# One fault each -----------------------------------------------------------------------------------------------------


def answering(change: Any) -> Any:
    """The environment, whose every answer is changed."""

    class Faulty(GuessEpisode):
        def step(self, reply: Any) -> Any:
            return change(super().step(reply), reply, self)

    return lambda: Guess(Faulty)


class Endless(GuessEpisode):
    def step(self, reply: Any) -> Any:
        return EnvironmentAnswer([{"role": "user", "content": "go on"}])


class Seedless(GuessEpisode):
    chance = random.Random(0)

    def __attrs_post_init__(self) -> None:
        self.source = self.chance
        super().__attrs_post_init__()


class GlobalChance(GuessEpisode):
    def close(self) -> None:
        np.random.rand()


class Rude(GuessEpisode):
    def close(self) -> None:
        if "closed" in self.log:
            raise OSError("already closed")
        super().close()


class Leaky(GuessEpisode):
    def close(self) -> None:
        threading.Thread(target=threading.Event().wait, args=(30,), daemon=True, name="forgotten").start()


class Careless(GuessEpisode):
    def step(self, reply: Any) -> Any:
        answer = super().step(reply)
        reply["content"] += "!"
        return answer


class Loud(GuessEpisode):
    messages = ({"role": "assistant", "content": "I begin."},)


class SharedCount(GuessEpisode):
    """Two episodes that are open side by side have one number."""

    def step(self, reply: Any) -> Any:
        self.log.append("step")
        others = self.log.count("opened") - self.log.count("closed")
        answer = super().step(reply)
        return evolve(answer, messages=[{**message, "content": f"{others} open"} for message in answer.messages])


class ChangesPrompt(Guess):
    def open(self, prompt: Prompt, seed: int) -> Any:
        episode = super().open(prompt, seed)
        prompt.columns["highest"] = 2  # type: ignore[index]
        return episode


class NoEpisode(Guess):
    def open(self, prompt: Prompt, seed: int) -> Any:
        return object()


class TwiceDeclared(Guess):
    reward_names = ("solved", "solved")


class Undeclared(Guess):
    reward_names = ("solved", "early")


class Silent(Guess):
    reward_names = ("solved", "early", "calls", "style")


def with_message(**message: Any) -> Any:
    def change(answer: Any, reply: Any, episode: Any) -> Any:
        return evolve(answer, messages=[message for _ in answer.messages])

    return answering(change)


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (lambda: Guess(Endless), r"not done after 32 turns \(max_turns\)"),
        (lambda: Guess(Seedless), "seed 0 twice gave two different episodes"),
        (lambda: Guess(GlobalChance), "global state of random, numpy or torch"),
        (lambda: Guess(Rude), "close.. of an episode raised OSError: already closed"),
        (lambda: Guess(Leaky), "still running after .* closed: forgotten"),
        (lambda: Guess(Careless), "changed the reply"),
        (lambda: Guess(Loud), "role is system or user"),
        (lambda: Guess(SharedCount), "depends on another that is open beside it"),
        (ChangesPrompt, "changed the prompt"),
        (NoEpisode, "an episode with step.. and close.."),
        (object, "an environment has a method open"),
        (TwiceDeclared, "reward_names must be distinct names"),
        (Undeclared, r"gives the reward 'calls', which reward_names \['solved', 'early'\] does not declare"),
        (Silent, "without a word on the declared reward style"),
        (answering(lambda answer, reply, episode: answer.messages), "must return a morl.types.EnvironmentAnswer"),
        (answering(lambda answer, *_: evolve(answer, messages=())), "is not done has no message"),
        (answering(lambda answer, *_: evolve(answer, messages=answer.messages[:1])), "2 calls of tools got 1 messages"),
        (answering(lambda answer, *_: evolve(answer, done=int(answer.done))), "`done` must be a bool"),
        (answering(lambda answer, *_: evolve(answer, rewards={"solved": float("nan")})), "finite number or None"),
        (answering(lambda answer, *_: evolve(answer, rewards={"solved": "1"})), "finite number or None; got '1'"),
        (with_message(role="assistant", content="mine"), "role is tool or user"),
        (with_message(role="user", content=None), "content of a message must be text"),
        (with_message(role="user", content="ok", data=object()), "plain data that JSON can hold"),
    ],
)
def test_each_fault_is_caught(faulty: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morl.testing.environments.LEAVING", 0.01)
    prompts = [Prompt("guess", {"highest": 6}), Prompt("guess", {"highest": 9})]
    state = np.random.get_state()
    with pytest.raises(AssertionError, match=message):
        check_environment(faulty, prompts, guess_upwards)
    np.random.set_state(state)
