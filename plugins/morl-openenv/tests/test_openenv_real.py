"""What only openenv's own server can show: `make test-openenv`."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from typing import Any

import pytest

from morl.errors import ConfigError
from morl.testing import check_environment
from morl.types import Prompt
from morl_openenv.environment import OpenEnv
from morl_openenv.failures import Kind, OpenEnvError

PROMPT = Prompt("Add!", {})


def test_our_small_server_has_the_schema_of_openenv_s(real_game: Any, local: Any) -> None:
    schemas = []
    for url in (real_game.url, local().url):
        with urllib.request.urlopen(f"{url}/schema") as response:
            schemas.append(json.load(response))
    real, ours = schemas
    for kind in ("action", "observation"):
        assert set(ours[kind]["properties"]) == set(real[kind]["properties"])
        assert ours[kind]["additionalProperties"] == real[kind]["additionalProperties"]
    assert ours["action"]["required"] == real["action"]["required"]


@pytest.fixture(scope="session")
def tools(real: Any) -> Any:
    return real("tools", 4)


def test_the_server_s_own_tools(tools: Any, say: Any) -> None:
    replies = [
        say("", ("add", {"a": 1, "b": 2}), ("shout", {"text": "hi"})),
        say("", ("add", {"a": "one", "b": 2}), ("ad", {}), ("shout", {"text": ""})),
        say("3"),
    ]

    async def play(environment: OpenEnv) -> tuple[Any, list[Any]]:
        episode = await environment.open(PROMPT, 0)
        answers = [await episode.step(reply) for reply in replies]
        await episode.close()
        return episode, answers

    environment = OpenEnv([tools.url], mcp=True)
    episode, answers = asyncio.run(play(environment))
    environment.close()
    assert environment.tools == episode.tools, "known before the first episode"
    assert episode.messages == (), "the observation of the reset has nothing but metadata"
    functions = [tool["function"] for tool in episode.tools]
    assert [(each["name"], each["description"]) for each in functions] == [
        ("add", "Adds two numbers."),
        ("shout", "Says it loudly."),
    ]
    assert functions[0]["parameters"]["required"] == ["a", "b"]
    said = [[message["content"] for message in answer.messages] for answer in answers]
    assert said[0] == ["3", "HI"]
    assert said[1][0].startswith("Error: 1 validation error for call[add]\na\n  Input should be a valid integer")
    assert said[1][1:] == [
        "Error: unknown tool 'ad'; tools: add, shout",
        "Error: Error calling tool 'shout': nothing to shout",
    ]
    assert [answer.info["failed_calls"] for answer in answers] == [0, 3, 3]
    assert answers[2].done
    assert answers[2].rewards == {"reward": None}


def test_tools_keep_the_contract(tools: Any, say: Any) -> None:
    def adds_twice(messages: Any) -> Any:
        results = [message["content"] for message in messages if message["role"] == "tool"]
        return say(results[-1]) if len(results) > 1 else say("", ("add", {"a": len(results), "b": 2}))

    check_environment(lambda: OpenEnv([tools.url], mcp=True), [PROMPT, Prompt("Again!")], adds_twice)


def test_a_game_has_no_tools_of_its_own(real_game: Any) -> None:
    with pytest.raises(ConfigError, match="mcp: refused: the server has no tools of its own; use `text` or `tool`"):
        OpenEnv([real_game.url], mcp=True)


def test_accidents(real: Any, say: Any) -> None:
    server = real("game", 4)

    async def failing(environment: OpenEnv, reply: str, stop: bool = False) -> Kind:
        episode = await environment.open(PROMPT, 0)
        assert not (await episode.step(say("x"))).done
        if stop:
            server.process.send_signal(signal.SIGSTOP)
        with pytest.raises(OpenEnvError) as failure:
            await episode.step(say(reply))
        server.process.send_signal(signal.SIGCONT)
        with pytest.raises(OpenEnvError, match="this session is closed"):
            await episode.step(say("1"))
        await episode.close()
        return failure.value.kind

    async def play(environment: OpenEnv) -> None:
        assert await failing(environment, "hang") == Kind.TIMEOUT
        assert await failing(environment, "1", stop=True) == Kind.TIMEOUT
        assert await failing(environment, "die") == Kind.CONNECTION

    # Far above the milliseconds of an answer; a machine that is busier than that fails the first step, not the claim.
    environment = OpenEnv([server.url], message_timeout=5.0)
    asyncio.run(play(environment))
    environment.close()
