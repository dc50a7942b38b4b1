"""Episodes of a game, on a small server of ours and, with `make test-openenv`, on openenv's own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from morl.testing import check_environment
from morl.types import Prompt
from morl_openenv.environment import OpenEnv
from morl_openenv.failures import Kind, OpenEnvError

PROMPTS = [Prompt("Guess!", {"highest": 6}), Prompt("Guess again!", {"highest": 4})]
REWARDS = {"found": "reward", "warmth": "metadata.warmth", "guesses": "observation.guesses"}
# The number that seed 3 gives; `game.py` draws it from `random.Random(3)`.
NUMBER = 2


def converse(environment: OpenEnv, *replies: Any, seed: int = 3) -> tuple[Any, list[Any]]:
    """An episode and its answers to these replies."""

    async def play() -> tuple[Any, list[Any]]:
        episode = await environment.open(PROMPTS[0], seed)
        try:
            return episode, [await episode.step(reply) for reply in replies]
        finally:
            await episode.close()

    try:
        return asyncio.run(play())
    finally:
        environment.close()


@pytest.mark.parametrize("form", [{"text": "guess"}, {"tool": "guess"}], ids=["text", "tool"])
def test_the_contract_is_kept(form: dict[str, str], game_url: str, say: Any) -> None:
    def upwards(messages: Any) -> Any:
        number = str(1 + sum(message["role"] == "assistant" for message in messages))
        return say(number) if "text" in form else say("", ("guess", {"guess": number}))

    def make() -> OpenEnv:
        return OpenEnv([game_url], **form, rewards=REWARDS, running=["guesses"], reset_columns=["highest"])

    check_environment(make, PROMPTS, upwards)


def test_an_observation_is_a_message_and_named_rewards_come_from_its_fields(game_url: str, say: Any) -> None:
    environment = OpenEnv([game_url], observation=["said"], rewards=REWARDS, running=["guesses"])
    assert environment.reward_names == ("found", "warmth", "guesses")
    episode, answers = converse(environment, say("six"), say("3"), say(str(NUMBER)))
    assert episode.messages == ({"role": "user", "content": "I think of a number from 1 to 6."},)
    assert episode.tools == ()
    said = [[message["content"] for message in answer.messages] for answer in answers]
    assert said == [["A number!"], ["lower"], ["right"]]
    assert [answer.done for answer in answers] == [False, False, True]
    # The reward of the first answer is null, and `guesses` is the total so far.
    assert [dict(answer.rewards) for answer in answers] == [
        {"guesses": 1.0},
        {"found": 0.0, "warmth": 0.5, "guesses": 1.0},
        {"found": 1.0, "warmth": 1.0, "guesses": 1.0},
    ]


def test_several_fields_are_read_as_json_and_metadata_is_not(game_url: str, say: Any) -> None:
    episode, (answer,) = converse(OpenEnv([game_url]), say("3"))
    assert episode.messages[0]["content"] == '{"said": "I think of a number from 1 to 6.", "guesses": 0}'
    assert answer.messages[0]["content"] == '{"said": "lower", "guesses": 1}'


def test_calls_of_one_reply_are_actions_in_their_order(game_url: str, say: Any) -> None:
    calls = [("guess", {"guess": guess, "loud": True}) for guess in ("3", str(NUMBER), "1")]
    environment = OpenEnv([game_url], tool="guess", observation=["said"])
    episode, (answer,) = converse(environment, say("", *calls))
    (tool,) = episode.tools
    assert environment.tools == (tool,), "known before the first episode"
    assert tool["function"]["name"] == "guess"
    assert tool["function"]["description"] == "Guesses the number."
    assert set(tool["function"]["parameters"]["properties"]) == {"guess", "loud"}
    assert tool["function"]["parameters"]["required"] == ["guess"]
    assert [message["content"] for message in answer.messages] == ["lower", "right", "The episode is over."]
    assert [message["tool_call_id"] for message in answer.messages] == ["call0", "call1", "call2"]
    assert answer.done
    assert answer.rewards == {"reward": 1.0}


def test_fixed_fields_are_not_the_policy_s(game_url: str, say: Any) -> None:
    environment = OpenEnv([game_url], tool="guess", action={"loud": True})
    episode, (answer,) = converse(environment, say("", ("guess", {"guess": "3"})))
    assert set(episode.tools[0]["function"]["parameters"]["properties"]) == {"guess"}
    assert not answer.done


def test_what_the_server_s_schema_refuses_the_policy_is_told_and_the_episode_goes_on(game_url: str, say: Any) -> None:
    replies = [
        say("", ("guess", {"guess": [1]}), ("gess", {})),
        say("", ("guess", {"guess": "1", "x": 1})),
        say("", ("guess", {"guess": str(NUMBER)})),
    ]
    _, answers = converse(OpenEnv([game_url], tool="guess", observation=["said"]), *replies)
    first, second = (message["content"] for message in answers[0].messages)
    assert first == "Error: guess: Input should be a valid string"
    assert second == "Error: unknown tool 'gess'; tools: guess"
    assert answers[1].messages[0]["content"] == "Error: x: Extra inputs are not permitted"
    assert [answer.done for answer in answers] == [False, False, True]
    assert [answer.info["failed_calls"] for answer in answers] == [2, 3, 3]


def test_a_reply_without_a_call_ends_an_episode_of_tools(game_url: str, say: Any) -> None:
    environment = OpenEnv([game_url], tool="guess", rewards=REWARDS)
    _, (answer,) = converse(environment, say("I do not know."))
    assert answer.done
    assert answer.messages == []
    assert answer.rewards == {"found": None, "warmth": None, "guesses": None}, "no answer had them: they are missing"


def test_calls_where_there_are_no_tools_are_answered(game_url: str, say: Any) -> None:
    _, (answer,) = converse(OpenEnv([game_url]), say("", ("guess", {})))
    assert [message["content"] for message in answer.messages] == ["Error: unknown tool 'guess'; tools: none"]
    assert not answer.done


def test_columns_and_seed_go_into_the_reset(local: Any, say: Any) -> None:
    server = local()
    environment = OpenEnv([server.url], reset={"highest": 3, "level": "easy"}, opening=False)
    episode, _ = converse(environment, seed=2**63 - 1)
    assert server.asked[0] == {"type": "reset", "data": {"highest": 3, "level": "easy", "seed": 2**31 - 1}}
    assert episode.messages == (), "the opening is not wanted"
    environment = OpenEnv([server.url], reset_columns=["highest"])
    assert environment.required_columns == ("highest",)
    episode, _ = converse(environment)
    assert "1 to 6" in episode.messages[0]["content"]
    assert server.kinds() == ["reset", "close"] * 2, "the server is told when an episode is closed"


def test_more_episodes_than_sessions_are_a_failure_of_those_episodes(game_url: str, say: Any) -> None:
    async def play(environment: OpenEnv) -> list[Any]:
        opened = await asyncio.gather(
            *(environment.open(PROMPTS[0], seed) for seed in range(5)), return_exceptions=True
        )
        episodes = [each for each in opened if not isinstance(each, Exception)]
        for episode in episodes:
            assert not (await episode.step(say("x"))).done
            await episode.close()
        # A closed episode has given its place back.
        again = await environment.open(PROMPTS[0], 0)
        await again.close()
        return [each for each in opened if isinstance(each, Exception)]

    environment = OpenEnv([game_url])
    failures = asyncio.run(play(environment))
    environment.close()
    assert [failure.kind for failure in failures] == [Kind.CAPACITY, Kind.CAPACITY]
    assert "max_concurrent_envs" in str(failures[0])


def test_episodes_are_spread_over_servers(local: Any) -> None:
    servers = [local(most=2), local(most=2)]

    async def play(environment: OpenEnv) -> list[int]:
        episodes = [await environment.open(PROMPTS[0], seed) for seed in range(4)]
        counts = [len(server.sessions) for server in servers]
        for episode in episodes:
            await episode.close()
        return counts

    environment = OpenEnv([server.url for server in servers])
    assert asyncio.run(play(environment)) == [2, 2]
    environment.close()


def test_an_environment_that_raises_ends_the_episode(game_url: str, say: Any) -> None:
    async def play(environment: OpenEnv) -> list[OpenEnvError]:
        episode = await environment.open(PROMPTS[0], 0)
        errors = []
        for reply in (say("raise"), say("1")):
            with pytest.raises(OpenEnvError) as raised:
                await episode.step(reply)
            errors.append(raised.value)
        await episode.close()
        return errors

    environment = OpenEnv([game_url])
    first, second = asyncio.run(play(environment))
    environment.close()
    assert (first.kind, str(first)) == (
        Kind.EXECUTION,
        "execution: the server answers EXECUTION_ERROR: the game is broken",
    )
    # Never stepped again, though the server would answer.
    assert second.kind == Kind.CONNECTION
    assert "this session is closed: a step ended with OpenEnvError: execution" in str(second)
