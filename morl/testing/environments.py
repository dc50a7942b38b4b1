"""What every environment has to keep, checked by conversations with it.

    from morl.testing import check_environment

    def test_my_environment():
        check_environment(lambda: MyEnvironment(), prompts, policy)

`policy` answers in place of a model: `(messages so far) -> reply`.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import multiprocessing
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from attrs import define, field, frozen

from morl.conversation.answers import AnswerError, check_answer, check_rewards
from morl.conversation.opening import Opening
from morl.hookspecs import Environment, Episode
from morl.testing.requirements import random_states, require
from morl.types import CompletionStatus, Message, Prompt

Policy: TypeAlias = Callable[[Sequence[Message]], Message]

SEEDS = (0, 1, 2**63 - 1)
LEAVING = 5.0
"""Seconds that threads and processes of a closed environment have to end."""


def check_environment(
    make_environment: Callable[[], Environment],
    prompts: Sequence[Prompt],
    policy: Policy,
    *,
    max_turns: int = 32,
) -> None:
    """Runs the whole suite.

    Args:
        make_environment: a new environment.
        prompts: that the environment can answer to; two at least, so that episodes can be open side by side.
        policy: replies to the messages so far, those of the prompt first.  It must bring every episode to its end, and
            depend on nothing but the messages.  Several policies, one call of the suite each, see more.
        max_turns: an episode that is not done by then is at fault.

    Raises:
        AssertionError: says what the environment does not keep.
        ValueError: fewer than two prompts.
    """
    if len(prompts) < 2:
        raise ValueError(f"check_environment needs two prompts at least; got {len(prompts)}")
    before, running = random_states(), _running()
    environment = make_environment()
    asyncio.run(_check_case(_Case(environment, policy, max_turns, _declared(environment)), prompts))
    require(random_states() == before, "the global state of random, numpy or torch was advanced")
    left = _left(running)
    require(not left, f"still running after all episodes and the environment were closed: {', '.join(left)}")


@frozen(eq=False)
class _Case:
    environment: Environment
    policy: Policy
    max_turns: int
    rewards: tuple[str, ...]


Transcript: TypeAlias = list[tuple[list[Message], bool, dict[str, float | None]]]


@define(eq=False)
class _Conversation:
    """An open episode and what was said in it."""

    case: _Case
    episode: Episode
    messages: list[Message]
    transcript: Transcript = field(factory=list)
    done: bool = False

    @classmethod
    async def begin(cls, case: _Case, prompt: Prompt, seed: int) -> _Conversation:
        given = copy.deepcopy(prompt)
        episode = await _awaited(case.environment.open(prompt, seed))
        unchanged = (prompt.content, prompt.columns) == (given.content, given.columns)
        require(unchanged, "the environment changed the prompt that it was given")
        _check(Opening.of, episode)
        opening = Opening.of(episode)
        before = prompt.messages if opening.prompt is None else opening.prompt
        return cls(case, episode, [*before, *opening.messages])

    async def turn(self) -> None:
        reply = self.case.policy(copy.deepcopy(self.messages))
        given = copy.deepcopy(reply)
        answer = await _awaited(self.episode.step(given))
        require(given == reply, "step() changed the reply that it was given")
        _check(check_answer, answer, len(reply.get("tool_calls") or ()), self.case.rewards)
        self.messages += [reply, *answer.messages]
        earned = check_rewards(answer.rewards, self.case.rewards)
        self.transcript.append((copy.deepcopy(list(answer.messages)), answer.done, earned))
        self.done = answer.done
        if self.done:
            await self.finish()
        require(
            self.done or len(self.transcript) < self.case.max_turns,
            f"an episode is not done after {self.case.max_turns} turns (max_turns)",
        )

    async def finish(self) -> None:
        """Adds the rewards at the end to those of the last turn."""
        finish = getattr(self.episode, "finish", None)
        if finish is not None:
            rewards = await _awaited(finish(CompletionStatus.COMPLETED))
            _check(check_rewards, rewards, self.case.rewards)
            messages, done, given = self.transcript[-1]
            self.transcript[-1] = (messages, done, {**given, **check_rewards(rewards, self.case.rewards)})

    async def close(self) -> None:
        await _closed(self.episode, "close() of an episode")


async def _check_case(case: _Case, prompts: Sequence[Prompt]) -> None:
    pairs = [(prompt, SEEDS[row % 2]) for row, prompt in enumerate(prompts)]
    try:
        alone = [(await _play(case, [pair]))[0] for pair in pairs]
        for (prompt, seed), expected in zip(pairs, alone, strict=True):
            _check_declared(case, expected)
            (again,) = await _play(case, [(prompt, seed)])
            _require_same(expected, again, f"seed {seed} twice gave two different episodes")
        for expected, together in zip(alone, await _play(case, pairs), strict=True):
            _require_same(expected, together, "an episode depends on another that is open beside it")
        await _play(case, [(prompts[0], seed) for seed in SEEDS])
        await _check_cut_short(case, prompts[0])
    finally:
        close = getattr(case.environment, "close", None)
        if close is not None:
            close()


async def _play(case: _Case, pairs: Sequence[tuple[Prompt, int]]) -> list[Transcript]:
    """Episodes side by side, each a turn at a time; closed whatever happens."""
    conversations: list[_Conversation] = []
    try:
        for prompt, seed in pairs:
            conversations.append(await _Conversation.begin(case, prompt, seed))
        while live := [conversation for conversation in conversations if not conversation.done]:
            for conversation in live:
                await conversation.turn()
    finally:
        for conversation in conversations:
            await conversation.close()
    return [conversation.transcript for conversation in conversations]


async def _check_cut_short(case: _Case, prompt: Prompt) -> None:
    """As a limit of turns or a failure elsewhere cuts it, and closed once more than needed."""
    for turns in (0, 1):
        conversation = await _Conversation.begin(case, prompt, SEEDS[0])
        if turns:
            await conversation.turn()
        await conversation.close()
        await conversation.close()


def _declared(environment: Environment) -> tuple[str, ...]:
    require(isinstance(environment, Environment), f"an environment has a method open(); got {environment!r}")
    names = getattr(environment, "reward_names", ())
    legal = not isinstance(names, str) and all(isinstance(name, str) and name for name in names)
    require(legal and len(set(names)) == len(names), f"reward_names must be distinct names; got {names!r}")
    return tuple(names)


def _check(check: Callable[..., object], *given: object) -> None:
    """What morl refuses in a run is a failed assertion here."""
    try:
        check(*given)
    except AnswerError as error:
        raise AssertionError(str(error)) from error


def _check_declared(case: _Case, transcript: Transcript) -> None:
    given = {name for _, _, rewards in transcript for name in rewards}
    absent = [name for name in case.rewards if name not in given]
    require(
        not absent,
        f"an episode ended without a word on the declared reward {', '.join(absent)}; None says it does not apply",
    )


def _require_same(expected: Transcript, got: Transcript, otherwise: str) -> None:
    for turn, (one, other) in enumerate(zip(expected, got, strict=False)):
        require(one == other, f"{otherwise}: turn {turn} answered {one}, then {other}")
    require(len(expected) == len(got), f"{otherwise}: {len(expected)} turns, then {len(got)}")


async def _closed(episode: Episode, what: str) -> None:
    try:
        await _awaited(episode.close())
    except Exception as error:
        raise AssertionError(
            f"{what} raised {type(error).__name__}: {error}; it is called at any time, also twice"
        ) from error


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _running() -> set[object]:
    return {*threading.enumerate(), *multiprocessing.active_children()}


def _left(before: set[object]) -> list[str]:
    more = [each for each in _running() - before if isinstance(each, threading.Thread | multiprocessing.Process)]
    for each in more:
        each.join(LEAVING)
    return sorted(each.name for each in more if each.is_alive())
