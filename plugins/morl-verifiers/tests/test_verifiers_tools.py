"""Methods of toolsets as tools: schemas, arguments and results as verifiers' own servers have them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from morl.errors import ConfigError
from morl.testing import check_environment
from morl_verifiers.environment import VerifiersTools
from morl_verifiers.prompts import VerifiersPrompts

pytest.importorskip("verifiers", reason="verifiers has an environment of its own: make test-verifiers")


def converse(environment: VerifiersTools, prompt: Any, *replies: Any) -> tuple[Any, list[Any]]:
    async def play() -> tuple[Any, list[Any]]:
        episode = await environment.open(prompt, 0)
        try:
            return episode, [await episode.step(reply) for reply in replies]
        finally:
            await episode.close()

    try:
        return asyncio.run(play())
    finally:
        environment.close()


def test_the_contract_is_kept(sums: Any, say: Any) -> None:
    def asks_twice(messages: Any) -> Any:
        replies = sum(message["role"] == "assistant" for message in messages)
        return say("", ("add", {"a": replies, "b": 2}), ("hint", {})) if replies < 2 else say("done")

    prompts = list(VerifiersPrompts(sums("Sums")).load())
    check_environment(lambda: VerifiersTools(sums("Sums")), prompts[:2], asks_twice)


def test_calls(sums: Any, say: Any) -> None:
    from mcp import Client
    from mcp.server.mcpserver import MCPServer

    prompts = VerifiersPrompts(sums("Sums")).load()
    calls: list[tuple[str, dict[str, Any]]] = [
        ("add", {"a": 1, "b": 2}),
        ("add", {"a": "4"}),
        ("add", {"a": "four"}),
        ("add", {}),
        ("hint", {}),
        ("pieces", {"what": "ab"}),
        ("pieces", {"what": ""}),
        ("silent", {}),
    ]
    environment = VerifiersTools(sums("Sums"))
    episode, (answer, last) = converse(environment, prompts[1], say("", *calls, ("sub", {})), say("2"))
    said = [message["content"] for message in answer.messages]
    assert said[:2] == ["3", "4"]
    assert said[2].startswith("Error executing tool add: 1 validation error for addArguments\na\n  Input should be")
    assert said[4] == "it is above 1", "set up for its own task"
    assert said[6] == "Error executing tool pieces: nothing to take apart"
    assert said[7] == "[]"
    assert said[8] == "Error: unknown tool 'sub'; tools: add, hint, pieces, silent, library_look_up"
    assert answer.info["failed_calls"] == 4
    assert not answer.done
    assert last.done
    assert last.messages == []

    async def through_the_protocol() -> tuple[list[Any], list[str]]:
        (toolset,) = environment._own_toolsets()
        await toolset.setup_task(environment._loaded.task(prompts[1].columns["verifiers"]).data)
        server = MCPServer("calculator")
        toolset.register(server)
        async with Client(server) as client:
            listed = (await client.list_tools()).tools
            results = [await client.call_tool(name, arguments) for name, arguments in calls]
        from verifiers.v1.harnesses.utils.mcp import mcp_content_to_chat_content

        return listed, [mcp_content_to_chat_content(result.content) for result in results]

    listed, expected = asyncio.run(through_the_protocol())
    assert said[: len(calls)] == expected
    offered = [tool["function"] for tool in episode.tools][: len(listed)]
    assert offered == [
        {"name": tool.name, "description": tool.description, "parameters": tool.input_schema} for tool in listed
    ]


def test_toolsets_are_closed_and_shared_ones_are_made_once(sums: Any, say: Any) -> None:
    environment = VerifiersTools(sums("Sums"), config={"task": {"calculator": {"offset": 10}}})
    calculator, library = type(environment._own_toolsets()[0]), type(environment._shared_toolsets()[0])
    calculator.closed.clear()
    prompts = VerifiersPrompts(sums("Sums")).load()

    async def play() -> list[str]:
        episodes = await asyncio.gather(*(environment.open(prompt, 0) for prompt in prompts))
        call = say("", ("library_look_up", {"word": "x"}), ("add", {"a": 1}))
        answers = [await episode.step(call) for episode in episodes]
        for episode in (*episodes, *episodes):
            await episode.close()
        return [message["content"] for answer in answers for message in answer.messages]

    assert asyncio.run(play()) == ["x: number 1", "11"] * 4
    assert calculator.closed == ["calculator"] * 4
    assert len(library.made) == 1
    environment.close()
    assert library.made == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CountingTaskset", "without verifiers' own processes: the tools of Counter share the state Count"),
        ("RemoteTaskset", "on a server, http://tools.example; the tools of Calculator need the runtime 'docker'"),
        ("OwnSetupTaskset", "has no tools; leave the environment out"),
    ],
)
def test_tools_that_are_refused(name: str, message: str, sums: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        VerifiersTools(sums(name))


def test_two_tools_of_one_name(sums: Any) -> None:
    path = sums("DoubledTaskset")
    (prompt,) = VerifiersPrompts(path).load()
    environment = VerifiersTools(path)
    with pytest.raises(ConfigError, match=r"two toolsets of .* have a tool 'add'"):
        asyncio.run(environment.open(prompt, 0))
    environment.close()
