"""`RewardScorer` and time: providers side by side, time limits, and calls that hang."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from morl.errors import RewardError
from morl.reward import LengthReward, RewardEntry, RewardScorer
from morl.reward.workers import MAX_ABANDONED

NAN = math.nan


def scorer_of(provider: Any, **options: Any) -> RewardScorer:
    return RewardScorer({"r": RewardEntry(provider, **options)})


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets go of the threads that a test left hanging."""
    event = threading.Event()
    yield event
    event.set()


def test_providers_run_side_by_side(completions, scripted):
    meeting = threading.Barrier(2, timeout=300)

    def meet(c):
        meeting.wait()
        return [1.0] * len(c)

    async def also_meet(c):
        await asyncio.to_thread(meeting.wait)
        return [1.0] * len(c)

    scorer = RewardScorer({"a": RewardEntry(scripted(meet)), "b": RewardEntry(scripted(also_meet))})
    assert scorer.score(completions).values_BK.sum() == 8
    scorer.close()


def test_async_providers_share_one_loop_across_steps(completions, scripted):
    loops = []

    async def note(c):
        loops.append(asyncio.get_running_loop())
        return [1.0] * len(c)

    scorer = RewardScorer({"a": RewardEntry(scripted(note)), "b": RewardEntry(scripted(note))})
    scorer.score(completions)
    scorer.score(completions)
    scorer.close()
    assert len(loops) == 4
    assert len(set(loops)) == 1
    assert loops[0].is_closed()


def test_an_async_exception_is_a_failure(completions, scripted):
    async def fail(_):
        raise OSError("no")

    assert scorer_of(scripted(fail)).score(completions).failed_BK.all()


def test_a_late_call_fails_and_its_answer_is_ignored(completions, scripted, release, caplog):
    calls = []

    def slow(c):
        calls.append(None)
        if len(calls) == 1:
            release.wait()
            return [99.0] * len(c)
        return [1.0] * len(c)

    scorer = RewardScorer(
        {"slow": RewardEntry(scripted(slow), timeout=2.0), "n": RewardEntry(LengthReward(2), timeout=None)}
    )
    scores = scorer.score(completions)  # and does not wait for the release
    assert scores.failed_BK.tolist() == [[True, False]] * 4
    assert scores.values_BK[:, 0].isnan().all()
    assert scores.seconds["slow"] >= 2
    # The next step gets a worker of its own while the first still hangs, and no late answer.
    scorer.entries["slow"] = evolve(scorer.entries["slow"], timeout=600)
    assert scorer.score(completions).values_BK[:, 0].tolist() == [1.0] * 4
    assert "reward 'slow' failed on 4 of 4" in caplog.text
    assert "no answer within 2 s; it cannot be stopped and still runs in the background (1 of 4)" in caplog.text
    assert scores.values_BK[:, 0].isnan().all()


def test_a_patient_reward_does_not_lengthen_the_limit_of_another(completions, scripted):
    over = threading.Event()

    def slow(c):
        assert over.wait(300), "the other one was waited for as long as this one"
        return [1.0] * len(c)

    async def cancelled(_):
        try:
            await asyncio.sleep(600)
        finally:
            over.set()

    scorer = RewardScorer(
        {"patient": RewardEntry(scripted(slow), timeout=600), "brief": RewardEntry(scripted(cancelled), timeout=2.0)}
    )
    assert scorer.score(completions).failed_BK.tolist() == [[False, True]] * 4
    scorer.close()


def test_a_reward_that_always_hangs_ends_the_run(completions, scripted, release):
    threads = []

    def hang(c):
        threads.append(threading.current_thread())
        release.wait()
        return [1.0] * len(c)

    scorer = scorer_of(scripted(hang), timeout=2.0)
    for _ in range(MAX_ABANDONED):
        assert scorer.score(completions).failed_BK.all()
    with pytest.raises(RewardError, match=r"reward 'r': 4 earlier calls still run.*limit of its own.*`timeout`"):
        scorer.score(completions)
    release.set()
    for thread in threads:
        thread.join()
    scorer.entries["r"] = evolve(scorer.entries["r"], timeout=600)
    assert not scorer.score(completions).failed_BK.any()


def test_a_late_coroutine_is_cancelled_and_leaves_nothing_behind(completions, scripted, caplog):
    cancelled = threading.Event()

    async def slow(_):
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    scorer = scorer_of(scripted(slow), timeout=0.1)
    for _ in range(MAX_ABANDONED + 2):
        assert scorer.score(completions).failed_BK.all()
    assert cancelled.wait(300)
    assert "no answer within 0.1 s" in caplog.text
    assert "still runs in the background" not in caplog.text
    scorer.close()


def test_a_coroutine_that_blocks_the_loop_is_left_behind_and_named(completions, scripted, release, caplog):
    async def block(c):
        release.wait()

    async def fine(c):
        return [1.0] * len(c)

    steps = []

    async def block_once(c):
        steps.append(None)
        return await (block(c) if len(steps) == 1 else fine(c))

    scorer = scorer_of(scripted(block_once), timeout=2.0)
    assert scorer.score(completions).failed_BK.all()
    scorer.entries["r"] = evolve(scorer.entries["r"], timeout=600)
    assert scorer.score(completions).values_BK.tolist() == [[1.0]] * 4
    assert "the event loop that all async rewards share was blocked" in caplog.text
    scorer.close()


def run_python(program: str, **options: Any) -> subprocess.CompletedProcess[str]:
    program = textwrap.dedent("""
        import threading, time, os, signal, sys
        from morl.reward import RewardEntry, RewardScorer
        from morl.types import Completion, Prompt

        class Hang:
            def score(self, completions):
                threading.Event().wait()
        """) + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=False, **options
    )


def test_a_hanging_call_does_not_keep_the_interpreter():
    done = run_python("""
        scorer = RewardScorer({"r": RewardEntry(Hang(), timeout=0.1)})
        assert scorer.score([Completion(Prompt("?"), "", ())]).failed_BK.all()
        scorer.close()
    """)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_ends_a_wait():
    done = run_python("""
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        try:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            RewardScorer({"r": RewardEntry(Hang(), timeout=None)}).score([Completion(Prompt("?"), "", ())])
        except KeyboardInterrupt:
            sys.exit(7)
    """)
    assert done.returncode == 7, done.stderr
