"""Functions that score one completion per call: a limit for each, so many at a time, and arguments of their own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter

import pytest

from morl.calls import EventLoop
from morl.errors import ConfigError
from morl.reward import FunctionReward, RewardEntry, RewardScorer
from morl.reward.workers import MAX_ABANDONED
from morl.types import Completion, Prompt


def completions_of(*texts: str, **columns: object) -> list[Completion]:
    prompt = Prompt([{"role": "user", "content": "2+2?"}], {"ground_truth": "4", **columns})
    return [Completion(prompt, text, ()) for text in texts]


def scorer_of(function: object, timeout: float | None = 600.0, **options: object) -> RewardScorer:
    return RewardScorer({"r": RewardEntry(FunctionReward(function, **options), timeout=timeout)})  # type: ignore[arg-type]


def test_each_call_has_the_whole_limit():
    """Four calls of 1.5 s under a limit of 5 s: together they take longer than one may, which a busy machine keeps."""

    def slow(solution_str, ground_truth):
        time.sleep(1.5)
        return 1.0

    scores = scorer_of(slow, timeout=5.0).score(completions_of(*"abcd"))
    assert scores.values_BK[:, 0].tolist() == [1.0] * 4
    assert scores.seconds["r"] >= 6.0


@pytest.mark.parametrize("kind", ["plain", "async", "trl"])
def test_one_late_answer_loses_one_score(kind):
    release = threading.Event()

    def plain(solution_str, ground_truth):
        if solution_str == "late":
            release.wait()
        return 1.0

    async def later(solution_str, ground_truth):
        if solution_str == "late":
            await asyncio.sleep(3600)
        return 1.0

    async def judge(completions, ground_truth):
        """In TRL's form, which answers with one list, so that all are lost unless each is asked alone."""
        assert ground_truth == ["4"]
        return [await later(message["content"], None) for (message,) in completions]

    texts = ["a"] * 7 + ["late"] + ["b"] * 8
    function = {"plain": plain, "async": later, "trl": judge}[kind]
    scorer = scorer_of(function, timeout=5.0, **({"batched": False} if kind == "trl" else {}))
    scores = scorer.score(completions_of(*texts))
    assert scores.failed_BK[:, 0].tolist() == [text == "late" for text in texts]
    assert scores.values_BK[~scores.failed_BK].tolist() == [1.0] * 15
    release.set()
    scorer.close()


@pytest.mark.parametrize(("concurrency", "most"), [(None, 1), (3, 3)])
def test_so_many_calls_run_at_a_time(concurrency, most):
    lock, running, peak = threading.Lock(), [0], [0]
    meeting = threading.Barrier(most, timeout=300)

    def busy(solution_str, ground_truth):
        with lock:
            running[0] += 1
            peak[0] = max(peak[0], running[0])
        meeting.wait()
        with lock:
            running[0] -= 1
        return 1.0

    scores = scorer_of(busy, concurrency=concurrency).score(completions_of(*"abcdef"))
    assert not scores.failed_BK.any()
    assert peak[0] == most


def test_async_calls_wait_for_each_other_only_above_their_number():
    running, peak = [0], [0]

    async def busy(solution_str, ground_truth):
        running[0] += 1
        peak[0] = max(peak[0], running[0])
        await asyncio.sleep(0.2)
        running[0] -= 1
        return 1.0

    scorer = scorer_of(busy, concurrency=4)
    assert not scorer.score(completions_of(*"abcdefgh")).failed_BK.any()
    assert peak[0] <= 4
    scorer.close()


def test_where_too_many_hang_the_rest_is_not_asked():
    release, asked = threading.Event(), []

    def hang(solution_str, ground_truth):
        asked.append(solution_str)
        release.wait()
        return 1.0

    scores = scorer_of(hang, timeout=0.3).score(completions_of(*"abcdefgh"))
    assert scores.failed_BK.all()
    assert asked == [*"abcd"][:MAX_ABANDONED]
    release.set()


def test_each_completion_has_arguments_of_its_own():
    """verl's functions write into `extra_info`; those of other completions, and the reference, stay as they were."""
    seen = []

    def greedy(solution_str, ground_truth, extra_info):
        seen.append((list(ground_truth), dict(extra_info)))
        ground_truth.pop()
        extra_info["seen"] = True
        return 1.0

    columns = {"ground_truth": ["4", "four"], "extra_info": {"index": 1}}
    prompt = Prompt("2+2?", columns)
    completions = [Completion(prompt, text, ()) for text in "ab"]
    for _ in range(2):
        assert not scorer_of(greedy).score(completions).failed_BK.any()
    assert FunctionReward(greedy).score(completions) == [1.0, 1.0], "also where it is called without a scorer"
    assert seen == [(["4", "four"], {"index": 1})] * 6
    assert columns == {"ground_truth": ["4", "four"], "extra_info": {"index": 1}}


def test_lists_of_a_trl_function_share_nothing_between_completions():
    seen = []

    def greedy(prompts, completions, answer, options):
        seen.append(([len(prompt) for prompt in prompts], [list(each) for each in answer], dict(options)))
        prompts[0].append({"role": "user", "content": "more"})
        completions[0].append("more")
        answer[0].pop()
        options["used"] = True
        return [1.0] * len(completions)

    prompt = Prompt([{"role": "user", "content": "2+2?"}], {"answer": ["4", "four"]})
    scorer = scorer_of(greedy, arguments={"options": {}})
    completions = [Completion(prompt, text, ()) for text in "ab"]
    for _ in range(3):
        assert not scorer.score(completions).failed_BK.any()
    assert seen == [([1, 1], [["4", "four"]] * 2, {})] * 3
    assert len(prompt.content) == 1

    def checks_its_own(prompts, completions, answer):
        answer[0].pop()
        prompts[0].clear()
        return [float(len(answer[1]) == 2 and len(prompts[1]) == 1)] * 2

    assert scorer_of(checks_its_own).score(completions).values_BK.tolist() == [[1.0], [1.0]]


def test_an_abandoned_loop_sends_nothing_more(monkeypatch):
    """It was blocked, so it could not be told at the time limit; as soon as it turns, it is."""
    release, sent, loops = threading.Event(), Counter(), []
    monkeypatch.setattr("morl.calls.EventLoop", lambda name: loops.append(EventLoop(name)) or loops[-1])

    async def block(solution_str, ground_truth):
        sent[solution_str] += 1
        if solution_str == "block":
            release.wait()
        await asyncio.sleep(0.01)
        sent[f"{solution_str}, after"] += 1
        while True:
            await asyncio.sleep(0.01)
            sent[f"{solution_str}, again"] += 1

    scorer = scorer_of(block, timeout=2.0)
    assert scorer.score(completions_of("block", "other")).failed_BK.all()
    release.set()
    loops[0].thread.join(300)
    assert not loops[0].thread.is_alive(), "what was begun is cancelled, and the loop ends"
    assert sent["block, after"] == 0
    scorer.close()


def test_an_option_that_a_form_does_not_have_is_refused():
    def verl(solution_str, ground_truth):
        return 1.0

    def trl(completions):
        return [1.0] * len(completions)

    with pytest.raises(ConfigError, match=r"batched=false has no effect: .* has verl's form"):
        FunctionReward(verl, batched=False)
    with pytest.raises(ConfigError, match=r"concurrency=2 has no effect: .* batched: false calls it for each"):
        FunctionReward(trl, concurrency=2)
    assert FunctionReward(trl, concurrency=2, batched=False).calls_at_a_time == 2
