"""Servers that hang, die or answer rubbish: a failure by kind, and an episode that is never stepped again."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from morl.types import Prompt
from morl_openenv.environment import OpenEnv, OpenEnvEpisode
from morl_openenv.failures import Kind, OpenEnvError, OpenEnvTimeout

PROMPT = Prompt("Guess!", {})


def observed(**more: Any) -> str:
    return json.dumps({"type": "observation", "data": {"observation": {"said": ""}, "reward": 1, "done": False} | more})


async def forever(connection: Any) -> None:
    """Until the client goes."""
    await connection.wait_closed()


async def cut(connection: Any) -> None:
    connection.transport.abort()


async def leave(connection: Any) -> None:
    """Closes as the protocol wants it, without an answer."""


RUBBISH = {
    "no JSON": ("}{", "no message of the protocol"),
    "no object": ("[1, 2]", "no message of the protocol"),
    "a number": ("7", "no message of the protocol"),
    "deep": ("[" * 100_000, "no message of the protocol"),
    "bytes": (b"\xff\xfe", "no message of the protocol"),
    "no data": ('{"type": "observation"}', "no message of the protocol"),
    "another type": ('{"type": "state", "data": {}}', "no observation"),
    "an empty observation": ('{"type": "observation", "data": {}}', "no observation"),
    "no observation": (observed(observation=None), "no observation"),
    "no done": (observed(done=None), "without `done`"),
    "an error that is none": ('{"type": "error", "data": "no"}', "no observation"),
    "a reward in words": (observed(reward="much"), "reward 'reward': reward must be a finite number; got 'much'"),
    "a list for a reward": (observed(reward=[1]), "must be a finite number"),
    "an infinite reward": (observed(reward=float("inf")), "must be a finite number; got inf"),
    "a reward that is no number": (observed(reward=float("nan")), "must be a finite number; got nan"),
}


def failing(environment: OpenEnv, say: Any, limit: float | None = None) -> tuple[OpenEnvError, OpenEnvError]:
    """The failures of a step, and of another try; a limit in seconds counts from the first step on."""

    async def play() -> list[OpenEnvError]:
        episode = await environment.open(PROMPT, 0)
        if limit is not None:
            episode._session.message_timeout = limit
        failures = []
        for _ in range(2):
            with pytest.raises(OpenEnvError) as raised:
                await episode.step(say("1"))
            failures.append(raised.value)
        await episode.close()
        await episode.close()
        return failures

    try:
        first, second = asyncio.run(play())
    finally:
        environment.close()
    return first, second


@pytest.mark.parametrize("case", RUBBISH)
def test_rubbish(case: str, local: Any, say: Any) -> None:
    answer, message = RUBBISH[case]
    server = local(scripted={"step": answer})
    first, second = failing(OpenEnv([server.url]), say)
    assert first.kind == Kind.ANSWER
    assert message in str(first)
    assert "this session is closed" in str(second)
    assert server.kinds() == ["reset", "step"], "it is not stepped again"


@pytest.mark.parametrize("way", [cut, leave])
def test_a_server_that_breaks_off(way: Any, local: Any, say: Any) -> None:
    first, second = failing(OpenEnv([local(scripted={"step": way}).url]), say)
    assert first.kind == Kind.CONNECTION
    assert str(first).startswith("connection: broken off at a step")
    assert "this session is closed" in str(second)


def test_an_answer_without_end(local: Any, say: Any) -> None:
    first, _ = failing(OpenEnv([local(scripted={"step": "x" * (2**24 + 1)}).url]), say)
    assert first.kind == Kind.CONNECTION


def test_a_server_that_hangs(local: Any, say: Any) -> None:
    server = local(scripted={"step": forever})
    first, second = failing(OpenEnv([server.url]), say, limit=0.05)
    assert first.kind == Kind.TIMEOUT
    assert isinstance(first, TimeoutError), "so that morl counts it as a time-out"
    assert str(first) == "timeout: no answer to a step within 0.05 s"
    assert "this session is closed: a step took too long" in str(second)
    assert server.ended.wait(60), "the server's session is over"


def test_a_step_that_its_caller_gives_up_is_over(local: Any, say: Any) -> None:
    server = local(scripted={"step": forever})

    async def play(environment: OpenEnv) -> OpenEnvEpisode:
        episode = await environment.open(PROMPT, 0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(episode.step(say("1")), 0.05)
        assert await asyncio.to_thread(server.ended.wait, 60), "the session on the server ended with it"
        with pytest.raises(OpenEnvError, match="this session is closed: a step ended with CancelledError"):
            await episode.step(say("1"))
        await episode.close()
        return episode

    environment = OpenEnv([server.url])
    asyncio.run(play(environment))
    environment.close()


def test_a_server_that_was_killed(local: Any, say: Any) -> None:
    server = local()

    async def play(environment: OpenEnv) -> None:
        episode = await environment.open(PROMPT, 0)
        await asyncio.to_thread(server.stop)
        with pytest.raises(OpenEnvError, match="broken off at a step") as broken:
            await episode.step(say("1"))
        with pytest.raises(OpenEnvError, match="ConnectionRefusedError") as refused:
            await environment.open(PROMPT, 1)
        assert {broken.value.kind, refused.value.kind} == {Kind.CONNECTION}
        await episode.close()

    environment = OpenEnv([server.url])
    asyncio.run(play(environment))
    environment.close()


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ('{"type": "error", "data": {"message": "no such level", "code": "VALIDATION_ERROR"}}', Kind.REFUSED, "level"),
        ('{"type": "error", "data": {"message": "no factory", "code": "FACTORY_ERROR"}}', Kind.EXECUTION, "no factory"),
        ('{"type": "error", "data": {"message": "what?", "code": "UNKNOWN_TYPE"}}', Kind.REFUSED, "UNKNOWN_TYPE"),
        ('{"type": "error", "data": {"message": "what?", "code": []}}', Kind.REFUSED, "what?"),
        (observed(done=True), Kind.ANSWER, "done before the first reply"),
        ("no", Kind.ANSWER, "no message"),
    ],
)
def test_a_reset_that_fails(answer: str, kind: Kind, message: str, local: Any) -> None:
    server = local(scripted={"reset": answer})
    environment = OpenEnv([server.url])
    with pytest.raises(OpenEnvError, match=message) as raised:
        asyncio.run(environment.open(PROMPT, 0))
    assert raised.value.kind == kind
    assert server.ended.wait(60), "no session is left"
    environment.close()


def test_an_environment_that_is_closed_with_open_episodes_leaves_nothing(local: Any, say: Any) -> None:
    server = local(scripted={"step": forever})
    before = set(threading.enumerate())
    environment = OpenEnv([server.url])

    async def play() -> None:
        episode = await environment.open(PROMPT, 0)
        step = asyncio.ensure_future(episode.step(say("1")))
        await asyncio.to_thread(lambda: [None for _ in iter(lambda: "step" in server.kinds(), True)])
        await asyncio.to_thread(environment.close)
        with pytest.raises((OpenEnvError, asyncio.CancelledError)):
            await step
        await episode.close()

    asyncio.run(play())
    assert set(threading.enumerate()) <= before
    assert server.ended.wait(60)


def test_no_connection_in_time(local: Any) -> None:
    environment = OpenEnv([local().url])
    environment.connect_timeout = 1e-9
    with pytest.raises(OpenEnvTimeout, match=r"no connection to ws://127.0.0.1:.*/ws within 1e-09 s"):
        asyncio.run(environment.open(PROMPT, 0))
    environment.close()
