"""Wrong options are refused when the environment is made, before any model is loaded."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import pytest

from morl.config.load import parse
from morl.errors import ConfigError
from morl.plugins import Registry
from morl.types import Prompt
from morl_openenv.environment import OpenEnv

OBSERVATION = {"properties": {"said": {"type": "string"}}, "additionalProperties": False}
TYPED = {
    "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "integer"}}}},
    "properties": {"to": {"$ref": "#/$defs/Point"}, "times": {"type": "integer"}, "metadata": {"type": "object"}},
    "required": ["to"],
    "type": "object",
}
UNION = {
    "oneOf": [{"$ref": "#/$defs/Say"}, {"$ref": "#/$defs/Move"}],
    "$defs": {
        "Say": {"properties": {"kind": {"const": "say"}, "words": {"type": "string"}}, "required": ["kind", "words"]},
        "Move": {
            "properties": {"kind": {"const": "move"}, "steps": {"type": "integer"}},
            "required": ["kind", "steps"],
        },
    },
}
TWO_TEXTS = {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a", "b"]}


def schema(action: Any, observation: Any = OBSERVATION) -> str:
    return json.dumps({"action": action, "observation": observation})


def test_the_environment_is_found_by_its_name(local: Any) -> None:
    registered = Registry().find("environment", "openenv")
    assert registered.plugin.label.startswith("morl-openenv")
    assert isinstance(registered.load()([local().url]), OpenEnv)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"text": "gess"},
            "text: an action has no field 'gess'; did you mean 'guess'.*; fields of an action: guess, loud",
        ),
        ({"text": "loud", "action": {"guess": "1"}}, "text: the field 'loud' of an action takes no text"),
        ({"text": "metadata", "action": {"guess": "1"}}, "text: the field 'metadata' of an action takes no text"),
        ({"action": {"lowd": True}}, "action: an action has no field 'lowd'; did you mean 'loud'"),
        ({"tool": "guess", "action": {"lowd": True}}, "action: an action has no field 'lowd'; did you mean 'loud'"),
        ({"text": "guess", "tool": "guess"}, "in one way, text, tool or mcp; got text and tool"),
        ({"mcp": True, "action": {"loud": True}}, "with `mcp` the tools of the server have no other fields"),
        ({"rewards": {}}, "an environment of which no reward is read"),
        (
            {"rewards": {"warm": "warmth"}},
            "rewards: expected `reward`, or a path such as metadata.score .* got 'warmth'",
        ),
        ({"rewards": {"warm": "metadata"}}, "got 'metadata'"),
        ({"rewards": {"warm": "reward.warmth"}}, "got 'reward.warmth'"),
        (
            {"rewards": {"n": "observation.guess"}},
            "has no field 'guess'; did you mean 'guesses'.*fields: done, guesses",
        ),
        ({"observation": ["sad"]}, "observation: an observation has no field 'sad'; did you mean 'said'"),
        ({"running": ["scores"], "rewards": {"score": "reward"}}, "running: unknown reward 'scores'; did you mean"),
        ({"reset": {"seed": 1}}, "reset: 'seed' stands twice"),
        ({"reset_columns": ["seed"]}, "reset: 'seed' stands twice"),
        ({"reset": {"level": 1}, "reset_columns": ["level"]}, "reset: 'level' stands twice"),
        ({"message_timeout": 0.0}, "'message_timeout' must be > 0.0"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], message: str, local: Any) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        OpenEnv([local().url], **options)


@pytest.mark.parametrize(
    ("action", "options", "message"),
    [
        (TWO_TEXTS, {}, "say how a reply becomes an action: .*fields of an action: a, b"),
        (TWO_TEXTS, {"text": "a"}, "action: the required field 'b' stays empty"),
        (TYPED, {}, "say how a reply becomes an action"),
        (UNION, {"text": "words"}, "action: the required field 'kind' stays empty"),
        (UNION, {"tool": "act"}, "tool: expected actions with fields of their own, of one form"),
        ({}, {"tool": "act"}, "fields of an action: none"),
        ({"$ref": "#"}, {}, "say how a reply becomes an action"),
    ],
)
def test_schemas_that_the_options_do_not_fit(action: Any, options: Any, message: str, local: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenEnv([local(schema=schema(action)).url], **options)


def test_a_union_of_actions_takes_text_in_the_form_that_fixed_fields_choose(local: Any, say: Any) -> None:
    answer = {"type": "observation", "data": {"observation": {"said": "ok"}, "reward": 1.0, "done": True}}
    server = local(schema=schema(UNION), scripted={"step": json.dumps(answer)})
    environment = OpenEnv([server.url], text="words", action={"kind": "say"})

    async def play() -> None:
        episode = await environment.open(Prompt(""), 0)
        await episode.step(say("hello"))
        await episode.close()

    asyncio.run(play())
    environment.close()
    assert server.asked[1] == {"type": "step", "data": {"kind": "say", "words": "hello"}}


def test_a_tool_has_the_action_s_typed_fields(local: Any) -> None:
    environment = OpenEnv([local(schema=schema(TYPED)).url], tool="go", action={"times": 2})

    async def play() -> Any:
        episode = await environment.open(Prompt(""), 0)
        await episode.close()
        return episode.tools

    (tool,) = asyncio.run(play())
    environment.close()
    assert tool["function"] == {
        "name": "go",
        "description": "Acts in the environment.",
        "parameters": {
            "type": "object",
            "properties": {"to": {"$ref": "#/$defs/Point"}},
            "required": ["to"],
            "$defs": TYPED["$defs"],
        },
    }


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ([], "urls must be a list of at least one server"),
        ("http://localhost:1", "urls must be a list of at least one server"),
        (["localhost:8000"], "expected the base of a server such as http://localhost:8000; got 'localhost:8000'"),
        (["http://"], "expected the base of a server"),
        (["http://localhost:1?x=2"], "expected the base of a server"),
        (["http://localhost:1", "ws://localhost:1/"], "a server stands twice"),
        (["http://127.0.0.1:1"], "no server answers at http://127.0.0.1:1/schema .*: start it first, or mend `urls`"),
    ],
)
def test_urls_that_are_refused(urls: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenEnv(urls)


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"action": {}}', '{"action": 1, "observation": {}}'])
def test_servers_of_another_kind(answer: str, local: Any) -> None:
    with pytest.raises(ConfigError, match="this is no server of openenv"):
        OpenEnv([local(schema=answer).url])


def test_a_server_without_schemas(local: Any) -> None:
    with pytest.raises(ConfigError, match="/below/schema answers with status 404: this is no server of openenv"):
        OpenEnv([f"{local().url}/below"])


def test_servers_with_different_actions(local: Any) -> None:
    urls = [local().url, local(schema=schema(TWO_TEXTS)).url]
    with pytest.raises(ConfigError, match=f"urls: {urls[1]} takes other actions than {urls[0]}"):
        OpenEnv(urls, text="guess")


@pytest.mark.parametrize(
    "listed", ['{"tools": []}', '{"tools": [{"name": 1, "input_schema": {}}]}', '{"tools": [{"name": "a"}]}', "{}"]
)
def test_tools_that_cannot_be_offered(listed: str, local: Any) -> None:
    answer = f'{{"type": "observation", "data": {{"observation": {listed}, "reward": null, "done": false}}}}'
    with pytest.raises(ConfigError, match="mcp: answer: expected a list of tools; got"):
        OpenEnv([local(scripted={"step": answer}).url], mcp=True)


def test_a_config_can_hold_all_options() -> None:
    options: dict[str, Any] = {
        "urls": ["http://localhost:8000"],
        "text": "guess",
        "tool": "guess",
        "mcp": True,
        "action": {"loud": True},
        "observation": ["said"],
        "rewards": {"found": "reward"},
        "running": ["found"],
        "reset": {"level": 1},
        "reset_columns": ["highest"],
        "opening": False,
        "connect_timeout": 1.0,
        "message_timeout": 2.0,
    }
    assert set(options) == {name for name in inspect.signature(OpenEnv).parameters if not name.startswith("_")}
    tree = {"policy": {"path": "model"}, "prompts": {"path": "p.jsonl"}, "environment": {"name": "openenv", **options}}
    config = parse(tree, Registry())
    assert config.environment is not None
    assert dict(config.environment.options) == options
