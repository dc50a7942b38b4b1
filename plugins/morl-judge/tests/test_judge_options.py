"""What a judge is made of: its options, its templates, and the key."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from morl.config.load import parse, to_mapping
from morl.errors import ConfigError, DataError
from morl.hookspecs import RewardProvider
from morl.plugins import Registry
from morl.testing import check_reward_provider
from morl.types import Completion, Prompt
from morl_judge.judge import Judge

GRADE = {"regex": "Grade: ([0-9]+)", "low": 0, "high": 10}


def score(judge: Judge, *texts: str) -> Any:
    return asyncio.run(judge.score([Completion(Prompt("2 + 2?"), text, (1,)) for text in texts]))


async def grades(body: Any, request: web.Request) -> web.Response:
    """Sends the key back where it was asked for "bad"; grades all others 7."""
    if body["messages"][-1]["content"].endswith("bad"):
        return web.Response(status=400, text=f"what is {request.headers['Authorization']}?")
    return web.json_response({"choices": [{"message": {"role": "assistant", "content": "Grade: 7"}}]})


def test_the_judge_keeps_the_contract(server: Any, make: Any) -> None:
    server.handler = grades
    batch = [Completion(Prompt("2 + 2?"), text, (1,)) for text in ("", "4", "five")]
    check_reward_provider(make, batch)
    check_reward_provider(lambda: make(criteria={"right": GRADE, "short": {"regex": "[0-9]+"}}, use_cache=False), batch)


def test_bounds_are_those_of_grades_that_have_both(make: Any) -> None:
    assert make().reward_bounds == (0, 10)
    assert make(grade={"regex": "[0-9]+", "low": 0}).reward_bounds is None
    assert make(criteria={"right": GRADE, "short": {"regex": "[0-9]+"}}).reward_bounds == {"right": (0, 10)}


# The key -------------------------------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    server: Any, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "sk-very-secret"
    monkeypatch.setenv("JUDGE_KEY", secret)

    server.handler = grades
    judge = make(key_variable="JUDGE_KEY")
    with caplog.at_level(logging.DEBUG):
        scores = score(judge, "fine", "bad")
    assert scores[0] == 7.0
    assert server.headers[0]["Authorization"] == f"Bearer {secret}"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for shown in (str(scores[1]), repr(judge), str(judge.counters), caplog.text, kept.decode(errors="replace")):
        assert secret not in shown
    assert "what is Bearer ***?" in str(scores[1])


def test_a_key_that_is_missing_or_stands_in_the_config_is_refused(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(ConfigError, match="key_variable names JUDGE_KEY, an environment variable that is not set"):
        make(key_variable="JUDGE_KEY")
    for key in ("sk-abc", "hf_abcdef", "gsk_0123"):
        with pytest.raises(ConfigError, match="must be the name of an environment variable") as refused:
            make(key_variable=key)
        assert key not in str(refused.value)


# Options -------------------------------------------------------------------------------------------------------------


def test_the_installed_plugin_offers_its_parts(make: Any) -> None:
    registry = Registry()
    assert {"judge", "reward-model"} <= {part.name for part in registry.names("reward provider")}
    assert registry.find("reward provider", "judge").load() is Judge
    assert isinstance(make(), RewardProvider)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8000"}, "url must be the address of an API"),
        ({"url": "http://me:secret@host/v1"}, "url must hold neither a password nor a query"),
        ({"url": "http://host/v1/chat/completions"}, "leave out /chat/completions"),
        ({"concurrency": 0}, "concurrency must be positive; got 0"),
        ({"batch_limit": -1.0}, "batch_limit must be positive"),
        ({"parameters": {"stream": True}}, "parameters must not hold 'stream'"),
        ({"parameters": {"api_key": "x"}}, "parameters must not hold 'api_key'"),
        ({"criteria": {"a": GRADE}, "grade": GRADE}, "set either `grade`, for one reward, or `criteria`"),
        ({"grade": None}, "set either `grade`, for one reward, or `criteria`"),
        ({"criteria": {}}, "criteria must name at least one reward"),
        ({"use_cache": False, "cache": "x"}, "cache has no effect with use_cache: false"),
        ({"template": "{{ completion"}, "the user template is no jinja"),
        ({"system": "{% if %}"}, "the system template is no jinja"),
        ({"template": "Grade it."}, "the template must mention {{ completion }}"),
        ({"grade": "Grade"}, "grade must say how the grade is read"),
        ({"criteria": {"a": {"regx": "x"}}}, "criteria.a has the unknown key 'regx'; did you mean 'regex'"),
    ],
)
def test_options_that_cannot_be_used_are_refused(make: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_templates_see_the_chat_and_the_row_and_nothing_else(server: Any, make: Any) -> None:
    server.handler = grades
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    completion = Completion(Prompt(chat, {"gold": "{{ 7 * 7 }}"}), "{% raw %}{{ 6 * 6 }}", (1,))
    judge = make(template="{{ prompt }}|{{ messages | length }}|{{ messages[0].role }}|{{ gold }}|{{ completion }}")
    asyncio.run(judge.score([completion]))
    assert server.bodies[0]["messages"][-1]["content"] == "u|2|system|{{ 7 * 7 }}|{% raw %}{{ 6 * 6 }}"
    hostile = make(template="{{ completion.__class__.__mro__ }}")
    with pytest.raises(DataError, match="the judge's template fails on a row: SecurityError"):
        asyncio.run(hostile.score([completion]))
    unknown = make(template="{{ completion }} {{ gold }}")
    assert unknown.required_columns == ("gold",)
    with pytest.raises(DataError, match="UndefinedError: 'gold' is undefined"):
        score(unknown, "a")


def test_texts_of_the_config_stay_texts() -> None:
    settings = {
        "template": "Asked: {{ completion }}",
        "parameters": {"stop": ["a: b", "5"], "user": "5", "temperature": 0, "top_p": 0.5, "logprobs": True},
        "criteria": {"a": {"regex": "Grade: ([0-9]+)", "low": 0}, "b": {"choice": {"yes": 1}}, "c": {"json": "score"}},
    }
    entry = {"name": "judge", "url": "http://localhost/v1", "model": "m", **settings}
    tree = {"policy": {"path": "p"}, "prompts": {"path": "p.jsonl"}, "rewards": {"judged": entry}}
    registry = Registry()
    config = parse(tree, registry)
    assert {name: config.rewards["judged"].options[name] for name in settings} == settings
    assert parse(to_mapping(config), registry).rewards["judged"].options == config.rewards["judged"].options
