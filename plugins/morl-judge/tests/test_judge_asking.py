"""The judge against a real server that answers rightly, wrongly, late or never."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from morl.errors import ConfigError, RewardError
from morl.reward import RewardEntry, RewardScorer
from morl.types import Completion, Prompt
from morl_judge.failures import JudgeError
from morl_judge.judge import Judge

GRADE = {"regex": "Grade: ([0-9]+)", "low": 0, "high": 10}


def completions(*texts: str, **columns: Any) -> list[Completion]:
    return [Completion(Prompt("2 + 2?", columns), text, (1,)) for text in texts]


def reply(text: object, **usage: int) -> web.Response:
    return web.json_response({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


def kinds(scores: Any) -> list[Any]:
    return [score.kind if isinstance(score, JudgeError) else score for score in scores]


def score(judge: Judge, *texts: str, **columns: Any) -> Any:
    return asyncio.run(judge.score(completions(*texts, **columns)))


def test_every_completion_gets_the_grade_of_its_answer(server: Any, make: Any) -> None:
    async def handler(body: Any, request: Any) -> Any:
        return reply(f"Well. Grade: {len(body['messages'][-1]['content'].rpartition('Said: ')[2])}", prompt_tokens=5)

    server.handler = handler
    judge = make(system="You are {{ role }}.", parameters={"temperature": 0.5, "max_tokens": 9})
    assert score(judge, "a", "bbb", "", role="strict") == [1.0, 3.0, 0.0]
    assert sorted(body["messages"][-1]["content"] for body in server.bodies) == [
        "Asked: 2 + 2? Said: ",
        "Asked: 2 + 2? Said: a",
        "Asked: 2 + 2? Said: bbb",
    ]
    for body in server.bodies:
        assert body["messages"][0] == {"role": "system", "content": "You are strict."}
        assert {name: body[name] for name in ("model", "temperature", "max_tokens")} == {
            "model": "m",
            "temperature": 0.5,
            "max_tokens": 9,
        }
    assert "Authorization" not in server.headers[0]
    assert (judge.counters.requests, judge.counters.answers, judge.counters.prompt_tokens) == (3, 3, 15)
    assert judge.required_columns == ("role",)


def test_several_criteria_are_several_rewards_of_one_request(server: Any, make: Any) -> None:
    async def handler(body: Any, request: Any) -> Any:
        said = body["messages"][-1]["content"].rpartition("Said: ")[2]
        return reply('{"kind": 3}' if said == "half" else '{"kind": 3, "true": {"all": 1}}')

    server.handler = handler
    judge = make(criteria={"kind": {"json": "kind"}, "true": {"json": "true.all"}})
    scorer = RewardScorer({"judged": RewardEntry(judge, weight={"true": 0.5})})
    scores = scorer.score(completions("whole", "half"))
    scorer.close()
    assert scores.names == ("kind", "true")
    assert scorer.weights == {"kind": 1.0, "true": 0.5}
    assert scores.values_BK[0].tolist() == [3.0, 1.0]
    assert scores.failed_BK.tolist() == [[False, False], [False, True]]
    assert len(server.bodies) == 2
    assert judge.counters.failures == {"grade": 1}


FAILURES: dict[str, tuple[str, int]] = {
    "500": ("server", 3),
    "503": ("server", 3),
    "429": ("rate-limit", 3),
    "400": ("request", 1),
    "redirect": ("request", 1),
    "rubbish": ("body", 3),
    "no-json": ("body", 3),
    "no-text": ("body", 3),
    "half": ("body", 3),
    "broken": ("connection", 3),
    "never": ("timeout", 3),
    "trickle": ("timeout", 3),
    "no-grade": ("grade", 1),
    "out-of-bounds": ("grade", 1),
    "huge": ("grade", 1),
}


async def misbehave(body: Any, request: web.Request) -> web.StreamResponse:
    said = body["messages"][-1]["content"].rpartition("Said: ")[2]
    match said:
        case "400" | "429" | "500" | "503":
            return web.Response(status=int(said), text="no")
        case "redirect":
            return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/"})
        case "rubbish":
            return web.json_response({"choices": []})
        case "no-json":
            return web.Response(text="<html>")
        case "no-text":
            return reply(None)
        case "half" | "trickle":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b'{"choices"')
            while said == "trickle":
                await asyncio.sleep(0.05)
                await response.write(b" ")
            assert request.transport is not None
            request.transport.close()
            return response
        case "broken":
            assert request.transport is not None
            request.transport.abort()
        case "never":
            await asyncio.sleep(1000)
        case "no-grade":
            return reply("I like it")
        case "huge":
            return reply("Grade: " + "9" * 5000)
        case "surrogate":
            return web.Response(text='{"choices": [{"message": {"content": "\\ud800 Grade: 7"}}]}')
        case "out-of-bounds":
            return reply("Grade: 11")
    return reply("Grade: 7")


@pytest.mark.parametrize("limit", [1.0, 60.0], ids=["of those that never answer", "of the others"])
def test_failures_are_told_by_kind_and_fail_alone(server: Any, make: Any, limit: float) -> None:
    """What answers has a long limit, or a busy machine would make it one more that does not."""
    server.handler = misbehave
    judge = make(attempts=3, request_timeout=limit)
    failures = {said: of for said, of in FAILURES.items() if (of[0] == "timeout") == (limit < 60)}
    fine = [] if limit < 60 else ["fine", "surrogate"]
    scores = score(judge, *failures, *fine)
    assert kinds(scores) == [*(kind for kind, _ in failures.values()), *[7.0] * len(fine)]
    for place, (said, (kind, requests)) in enumerate(failures.items()):
        assert server.asked(f"Said: {said}") == requests, said
        assert str(scores[place]).startswith(f"{kind}: ")
    assert judge.counters.failures.total() == len(failures)
    assert judge.counters.retries == sum(requests - 1 for _, requests in failures.values())


def test_the_scorer_counts_them_per_completion(server: Any, make: Any) -> None:
    server.handler = misbehave
    scorer = RewardScorer({"judge": RewardEntry(make(attempts=1))})
    scores = scorer.score(completions("fine", "500", "half", "no-json", "good"))
    scorer.close()
    assert scores.failed_BK.flatten().tolist() == [False, True, True, True, False]
    assert scores.values_BK.flatten()[[0, 4]].tolist() == [7.0, 7.0]


def test_a_server_that_is_not_there(make: Any) -> None:
    judge = make(url="http://127.0.0.1:9/v1", attempts=2)
    assert kinds(score(judge, "a", "b")) == ["connection", "connection"]
    assert judge.counters.requests == 4


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_fails_in_passing_is_asked_again(server: Any, make: Any, status: int) -> None:
    async def handler(body: Any, request: Any) -> Any:
        said = body["messages"][-1]["content"]
        return web.Response(status=status) if server.asked(said) < 3 else reply("Grade: 5")

    server.handler = handler
    judge = make()
    assert score(judge, "a", "b") == [5.0, 5.0]
    assert (judge.counters.requests, judge.counters.retries, judge.counters.failures.total()) == (6, 4, 0)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_for_all_requests(server: Any, make: Any, form: str) -> None:
    times: list[float] = []
    delay = 0.4 if form == "seconds" else 2

    async def handler(body: Any, request: Any) -> Any:
        times.append(time.monotonic())
        if len(times) == 1:
            # Dates have no fractions of a second.
            date = format_datetime(datetime.now(UTC) + timedelta(seconds=delay), usegmt=True)
            return web.Response(status=429, headers={"Retry-After": str(delay) if form == "seconds" else date})
        return reply("Grade: 5")

    server.handler = handler
    assert score(make(concurrency=1), "a", "b", "c") == [5.0, 5.0, 5.0]
    assert len(times) == 4
    assert min(times[1:]) - times[0] >= (0.4 if form == "seconds" else 0.9)


@pytest.mark.parametrize("value", ["21", "nonsense", "nan", "-3"])
def test_a_retry_after_that_is_too_long_is_a_failure_at_once_and_one_that_says_nothing_is_none(
    server: Any, make: Any, value: str
) -> None:
    async def handler(body: Any, request: Any) -> Any:
        return web.Response(status=429, headers={"Retry-After": value})

    server.handler = handler
    judge = make(attempts=2)
    assert kinds(score(judge, "a")) == ["rate-limit"]
    assert judge.counters.requests == (1 if value == "21" else 2)


def test_requests_under_way_are_limited(server: Any, make: Any) -> None:
    async def handler(body: Any, request: Any) -> Any:
        while server.most_under_way < 3:  # until so many have met
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        return reply("Grade: 1")

    server.handler = handler
    assert score(make(concurrency=3), *map(str, range(12))) == [1.0] * 12
    assert server.most_under_way == 3


def test_the_limit_of_a_batch_fails_the_late_ones_only(server: Any, make: Any) -> None:
    server.handler = misbehave
    judge = make(batch_limit=4.0)
    scores = score(judge, "never", "fine")
    assert kinds(scores) == ["timeout", 7.0]
    assert "not answered within the 4 s of the batch" in str(scores[0])


def test_a_call_that_is_given_up_sends_nothing_more(server: Any, make: Any) -> None:
    async def handler(body: Any, request: Any) -> Any:
        if body["messages"][-1]["content"].endswith("fine"):
            return reply("Grade: 7")
        if body["messages"][-1]["content"].endswith("500"):
            return web.Response(status=500)
        await asyncio.sleep(1000)
        return None

    server.handler = handler
    judge = make(attempts=1000, first_wait=0.05, longest_wait=0.1, concurrency=4)
    scorer = RewardScorer({"judge": RewardEntry(judge, timeout=1.5)})
    scores = scorer.score(completions("fine", "500", "never", *map(str, range(20))))
    assert scores.failed_BK.all()
    assert server.aborted.wait(300)
    sent = len(server.bodies)
    # Long enough for some twenty retries.
    threading.Event().wait(1.0)
    assert len(server.bodies) == sent < 23
    # What came before is kept.
    server.handler = None
    scorer.entries["judge"] = RewardEntry(judge, timeout=600)
    assert scorer.score(completions("fine")).values_BK.tolist() == [[7.0]]
    scorer.close()


def test_the_same_request_is_sent_once_and_kept_on_disk(server: Any, make: Any, tmp_path: Path) -> None:
    async def handler(body: Any, request: Any) -> Any:
        said = body["messages"][-1]["content"].rpartition("Said: ")[2]
        return reply(f"Grade: {len(server.bodies)}" if said != "odd" else "none")

    server.handler = handler
    first = score(make(concurrency=1), "a", "b", "a", "odd")
    assert first[0] == first[2]
    assert len(server.bodies) == 3
    again = make()
    assert score(again, "b", "a", "odd")[:2] == [first[1], first[0]]
    assert len(server.bodies) == 4  # an answer without a grade is not kept
    assert (again.counters.cached, again.counters.requests) == (2, 1)
    for other in ({"model": "n"}, {"system": "s"}, {"parameters": {}}, {"use_cache": False}):
        before = len(server.bodies)
        score(make(**other), "a")
        assert len(server.bodies) == before + 1
    assert "Said" not in (tmp_path / "cache" / "answers.sqlite").read_bytes().decode(errors="replace")


def test_a_cache_that_breaks_in_a_run_loses_no_score(
    server: Any, make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.handler = misbehave
    judge = make()
    (tmp_path / "cache" / "answers.sqlite").write_bytes(b"no database" * 100)
    assert score(judge, "fine") == [7.0]
    assert "cannot be read" in caplog.text
    assert "1 answers cannot be kept" in caplog.text


def test_a_folder_that_cannot_be_written_is_refused(make: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"answers cannot be kept in .*file"):
        make(cache=str(tmp_path / "file"))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_model_or_address_ends_the_run_before_the_first_answer(server: Any, make: Any, status: int) -> None:
    async def handler(body: Any, request: Any) -> Any:
        fine = body["messages"][-1]["content"].endswith("fine")
        return reply("Grade: 7") if fine else web.Response(status=status, text="unknown")

    server.handler = handler
    judge = make()
    scorer = RewardScorer({"quality": RewardEntry(judge)})
    with pytest.raises(RewardError, match=f"'quality': the judge cannot be asked: refused: status {status}"):
        scorer.score(completions("a"))
    assert len(server.bodies) == 1
    assert scorer.score(completions("fine", "a")).failed_BK.flatten().tolist() == [False, True]
    scorer.close()
