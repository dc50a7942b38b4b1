"""Each reward function is a reward: same scores as verifiers' own, None is missing, one that raises fails alone."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

import pytest

from morl.errors import ConfigError
from morl.reward import RewardEntry, RewardScorer
from morl.testing import check_reward_provider
from morl.types import Completion, CompletionStatus, Prompt, Turn
from morl_verifiers.loading import load
from morl_verifiers.prompts import VerifiersPrompts
from morl_verifiers.rewards import VerifiersRewards, _trace

pytest.importorskip("verifiers", reason="verifiers has an environment of its own: make test-verifiers")

KEYS = {"style": ["calm", "short"]}
NAMES = ("brief", "correct", "picky", "calm", "short", "tools", "unless_hard")


@pytest.fixture(scope="module")
def prompts(sums: Any) -> list[Prompt]:
    return list(VerifiersPrompts(sums("Sums")).load())


@pytest.fixture
def rewards(sums: Any) -> VerifiersRewards:
    return VerifiersRewards(sums("Sums"), score_names=KEYS)


def scored(rewards: VerifiersRewards, completions: list[Completion]) -> dict[str, Any]:
    return dict(asyncio.run(rewards.score(completions)))


def test_scores(rewards: VerifiersRewards, prompts: list[Prompt]) -> None:
    assert rewards.reward_names == NAMES
    completions = [Completion(prompts[1], text, (1,)) for text in ("2", "it is 2!", "2?", "")]
    scores = scored(rewards, completions)
    assert scores["correct"] == [1.0, 0.0, 0.0, 0.0]
    assert scores["brief"] == [1.0, 1 / 3, 1.0, 1.0], "it reads a metric, and another metric fails"
    assert scores["calm"] == [1.0, 0.0, 1.0, 1.0]
    assert scores["short"] == [1.0, 1.0, 1.0, 1.0]
    assert scores["tools"] == [0.0] * 4
    assert scores["unless_hard"] == [None] * 4
    assert [score for score in scores["picky"] if score != 1.0] == [scores["picky"][2]]
    assert str(scores["picky"][2]) == "that is a question"


def test_missing_and_failed_reach_the_matrix_as_such(rewards: VerifiersRewards, prompts: list[Prompt]) -> None:
    scorer = RewardScorer({"sums": RewardEntry(rewards)})
    try:
        scores = scorer.score([Completion(prompts[1], text, (1,)) for text in ("2", "2?")])
    finally:
        scorer.close()
    column = {name: index for index, name in enumerate(scores.names)}
    assert scores.names == NAMES
    assert scores.values_BK[:, column["correct"]].tolist() == [1.0, 0.0]
    assert all(math.isnan(value) for value in scores.values_BK[:, column["unless_hard"]].tolist())
    failed = [(row, scores.names[k]) for row, k in scores.failed_BK.nonzero().tolist()]
    assert failed == [(1, "picky")], "None is no failure, and a failure is that of one reward"


def test_verifiers_own_scoring_agrees(rewards: VerifiersRewards, sums: Any, prompts: list[Prompt]) -> None:
    loaded = load(sums("Sums"), {})
    for prompt, text in [(prompts[0], "0"), (prompts[2], "I think it is 4!"), (prompts[0], "")]:
        completion = Completion(prompt, text, (1,))
        task = loaded.task(prompt.columns["verifiers"])
        # `Task.score` is all or nothing, so the metric that fails is taken away.
        well = type("Well", (type(task),), {"unwell": None})(task.data, task.config)
        trace = _trace(well, completion)
        asyncio.run(well.score(trace))
        assert {name: [reward.score] for name, reward in trace.rewards.items()} == scored(rewards, [completion])


def conversation(prompt: Prompt, say: Any, status: CompletionStatus = CompletionStatus.COMPLETED) -> Completion:
    calls = say("", ("add", {"a": 1, "b": 1}), ("hint", {}))
    results = tuple(
        {"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"], "content": "2"}
        for call in calls["tool_calls"]
    )
    turns = (Turn(0, 2, "", calls, results), Turn(4, 5, "2", say("2")))
    return Completion(prompt, "2", (1, 2, 3), turns=turns, status=status)


def test_a_conversation_is_the_trace_of_one_agent(
    rewards: VerifiersRewards, prompts: list[Prompt], sums: Any, say: Any
) -> None:
    import verifiers.v1 as vf

    completion = conversation(prompts[1], say)
    assert scored(rewards, [completion])["tools"] == [2.0]
    trace = _trace(load(sums("Sums"), {}).task(prompts[1].columns["verifiers"]), completion)
    assert [type(message) for message in trace.messages] == [
        vf.SystemMessage,
        vf.UserMessage,
        vf.AssistantMessage,
        vf.ToolMessage,
        vf.ToolMessage,
        vf.AssistantMessage,
    ]
    assert trace.num_turns == 2
    assert trace.assistant_messages[0].tool_calls[0].arguments == '{"a": 1, "b": 1}'
    assert trace.task.data.answer == 2
    assert not trace.is_truncated


@pytest.mark.parametrize("status", [CompletionStatus.TURN_LIMIT, CompletionStatus.CONTEXT_FULL])
def test_a_conversation_that_was_cut_is_truncated(
    status: CompletionStatus, prompts: list[Prompt], sums: Any, say: Any
) -> None:
    task = load(sums("Sums"), {}).task(prompts[1].columns["verifiers"])
    assert _trace(task, conversation(prompts[1], say, status)).is_truncated


def test_the_contract_is_kept(prompts: list[Prompt], sums: Any) -> None:
    completions = [Completion(prompt, text, (1,)) for prompt in prompts[:2] for text in ("0", "2", "2!", "")]
    check_reward_provider(lambda: VerifiersRewards(sums("Sums"), score_names=KEYS), completions)


def test_weights_of_the_taskset_are_told(sums: Any, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        VerifiersRewards(sums("Sums"), score_names=KEYS)
    assert "weighs its rewards, which is the config's to do: {'brief': 0.25}" in caplog.text


def test_a_setup_without_a_runtime_is_run_first(sums: Any) -> None:
    path = sums("OwnSetupTaskset")
    (prompt,) = VerifiersPrompts(path).load()
    assert scored(VerifiersRewards(path), [Completion(prompt, "2", (1,))]) == {"one": [1.0]}


def test_several_scores_need_names(sums: Any, prompts: list[Prompt]) -> None:
    completion = Completion(prompts[0], "0", (1,))
    unnamed = scored(VerifiersRewards(sums("Sums")), [completion])
    assert str(unnamed["style"][0]) == "style returns several scores, name them in `score_names`: calm, short"
    wrong = scored(VerifiersRewards(sums("Sums"), score_names={"style": ["calm"], "correct": ["right"]}), [completion])
    assert str(wrong["calm"][0]).startswith("style must return scores of calm; got {'calm'")
    assert str(wrong["right"][0]) == "correct must return scores of right; got 1.0"
    more = scored(VerifiersRewards(sums("Sums"), score_names={"style": ["calm", "short", "loud"]}), [completion])
    assert more["loud"] == [None], "a score that is not given is missing"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Sums", {"score_names": {"stile": ["a"]}}, "score_names: unknown reward 'stile'; did you mean 'style'"),
        ("Sums", {"leave_out": ["corect"]}, "leave_out: unknown reward 'corect'; did you mean 'correct'"),
        ("Sums", {"score_names": {"style": ["correct", "a"]}}, "score_names: two rewards have one name"),
        ("RuntimeRewardTaskset", {}, "rewards that need a runtime: ran; `leave_out` them"),
        ("NoRewardsTaskset", {}, "has no reward functions"),
        ("PlainTaskset", {"leave_out": ["one"]}, "has no reward functions that are asked"),
    ],
)
def test_options_that_are_refused(name: str, options: dict[str, Any], message: str, sums: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        VerifiersRewards(sums(name), **options)


def test_a_reward_that_needs_a_runtime_can_be_left_out(sums: Any) -> None:
    path = sums("RuntimeRewardTaskset")
    rewards = VerifiersRewards(path, leave_out=["ran"])
    (prompt,) = VerifiersPrompts(path).load()
    assert scored(rewards, [Completion(prompt, "2", (1,))]) == {"offline": [0.5], "one": [1.0]}
