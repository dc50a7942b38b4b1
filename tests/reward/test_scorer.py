"""Scores, failures, time limits and refusals of `RewardScorer`."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from morl.errors import ConfigError, DataError, RewardError
from morl.reward import LengthReward, RewardEntry, RewardScorer
from morl.reward.workers import MAX_ABANDONED
from morl.types import Completion, Prompt

NAN = math.nan


def scorer_of(provider: Any, **options: Any) -> RewardScorer:
    return RewardScorer({"r": RewardEntry(provider, **options)})


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets go of the threads that a test left hanging."""
    event = threading.Event()
    yield event
    event.set()


# What counts as a score ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "returned",
    [
        [1, 0, True, 2.5],
        (1.0, 0.0, 1.0, 2.5),
        torch.tensor([1, 0, 1, 2.5]),
        torch.tensor([1, 0, 1, 2.5], dtype=torch.bfloat16, requires_grad=True),
        np.array([1, 0, 1, 2.5], dtype=np.float32),
        [np.float32(1), np.int64(0), np.bool_(True), torch.tensor(2.5)],
        [torch.tensor([1.0]), np.array([0]), Fraction(1), Decimal("2.5")],
    ],
    ids=["list", "tuple", "tensor", "bfloat16", "array", "scalars", "others"],
)
def test_numbers_of_many_kinds_become_float64(completions, scripted, returned):
    scores = scorer_of(scripted(lambda _: returned)).score(completions)
    assert scores.values_BK.dtype == torch.float64
    assert scores.values_BK.tolist() == [[1.0], [0.0], [1.0], [2.5]]
    assert not scores.failed_BK.any()
    assert not scores.dropped_B.any()


def test_none_and_nan_are_missing_and_no_failure(completions, scripted):
    scores = scorer_of(scripted(lambda _: [None, NAN, 0.0, torch.tensor(NAN)])).score(completions)
    assert scores.values_BK.isnan().flatten().tolist() == [True, True, False, True]
    assert not scores.failed_BK.any()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0, 2.0], r"reward 'r' returned 2 scores for 4 completions"),
        (torch.zeros(4, 1), r"one score per completion, shape \(4,\); got shape \(4, 1\)"),
        (0.5, r"must return a list with one score per completion; got float"),
        (None, r"must return a list with one score per completion; got NoneType"),
        ("1111", r"must return a list with one score per completion; got str"),
        ((score for score in [1.0] * 4), r"must return a list with one score per completion; got generator"),
        ({"r": [1.0] * 4}, r"reward 'r' returned a mapping with the keys 'r'.*`reward_names`"),
    ],
)
def test_a_broken_contract_is_refused(completions, scripted, returned, message):
    with pytest.raises(RewardError, match=message):
        scorer_of(scripted(lambda _: returned), on_failure="zero").score(completions)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0.5", r"a score is a number, or None.*got '0.5' \(str\)"),
        ([1.0], r"got \[1.0\] \(list\)"),
        (1j, r"got 1j \(complex\)"),
        (np.zeros(2), r"\(ndarray\)"),
        (math.inf, "must be a finite number; got inf"),
        (torch.tensor(-math.inf), "must be a finite number; got -inf"),
        (10**400, "finite number; got one that no float can hold"),
        (Fraction(10**400, 3), "no float can hold"),
        (Decimal("Infinity"), "got inf"),
        (Decimal("sNaN"), "no float can hold"),
    ],
    ids=repr,
)
@pytest.mark.parametrize(("policy", "substitute"), [("zero", 0.0), ("abstain", NAN), ("drop", NAN)])
def test_a_value_that_is_no_score_fails_its_completion_alone(
    completions, scripted, caplog, value, message, policy, substitute
):
    scores = scorer_of(scripted(lambda _: [1.0, value, 0.5, None]), on_failure=policy).score(completions)
    assert scores.failed_BK.flatten().tolist() == [False, True, False, False]
    assert scores.dropped_B.tolist() == [False, policy == "drop", False, False]
    expected = torch.tensor([1.0, substitute, 0.5, NAN], dtype=torch.float64)
    torch.testing.assert_close(scores.values_BK[:, 0], expected, equal_nan=True)
    assert re.search(message, caplog.text)
    assert "'text 1'" in caplog.text


def test_infinities_of_a_tensor_fail_their_completions_alone(completions, scripted):
    scores = scorer_of(scripted(lambda _: torch.tensor([0, -math.inf, 1, NAN]))).score(completions)
    assert scores.failed_BK.flatten().tolist() == [False, True, False, False]
    assert scores.values_BK[:, 0].isnan().tolist() == [False, True, False, True]


def test_long_texts_are_cut_in_messages(scripted):
    completion = Completion(Prompt("?"), "begin" + "x" * 1000 + "end", ())
    with pytest.raises(RewardError, match=r"'begin.* \.\.\. .*end'") as caught:
        scorer_of(scripted(lambda _: ["no"]), on_failure="raise").score([completion])
    assert len(str(caught.value)) < 300


def test_no_completions_ask_no_provider(scripted):
    scores = scorer_of(scripted(lambda _: pytest.fail("called"))).score([])
    assert scores.values_BK.shape == scores.failed_BK.shape == (0, 1)
    assert scores.dropped_B.shape == (0,)


# Several rewards of one provider -------------------------------------------------------------------------------------


def test_one_provider_of_several_rewards_beside_another(completions, scripted):
    code = scripted(lambda c: {"bug": [0.0] * len(c), "pass": [1.0] * len(c)}, reward_names=("pass", "bug"))
    scorer = RewardScorer({"code": RewardEntry(code, weight={"bug": 0.5}), "length": RewardEntry(LengthReward(2), 2)})
    scores = scorer.score(completions)
    assert scorer.names == scores.names == ("pass", "bug", "length")
    assert scorer.weights == {"pass": 1.0, "bug": 0.5, "length": 2.0}
    assert scores.values_BK.tolist() == [[1, 0, 1], [1, 0, 1], [1, 0, 0], [1, 0, 0]]
    assert set(scores.seconds) == {"code", "length"}


def test_one_weight_goes_to_each_of_several_rewards(scripted):
    assert scorer_of(scripted(None, reward_names=["a", "b"]), weight=0.25).weights == {"a": 0.25, "b": 0.25}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0] * 4, "the provider of the rewards pass, bug must return a mapping.*got list"),
        ({"pass": [1.0] * 4}, "reward 'bug' is missing from what its provider returned: 'pass'"),
        ({"pass": [1.0] * 4, "bug": [1.0] * 4, "bugs": [1.0] * 4}, "'bugs' that it does not announce; .*'bug'"),
        ({"pass": [1.0] * 4, "bug": [1.0]}, "reward 'bug' returned 1 scores for 4"),
    ],
)
def test_several_rewards_must_be_those_announced(completions, scripted, returned, message):
    with pytest.raises(RewardError, match=message):
        scorer_of(scripted(lambda _: returned, reward_names=("pass", "bug"))).score(completions)


# Failures ------------------------------------------------------------------------------------------------------------


def boom(_: Any) -> Any:
    raise OSError("judge is down")


@pytest.mark.parametrize(("policy", "value"), [("abstain", NAN), ("zero", 0.0), ("drop", NAN)])
def test_a_call_that_raises_fails_all_its_completions(completions, scripted, policy, value):
    scorer = RewardScorer({"r": RewardEntry(scripted(boom), on_failure=policy), "n": RewardEntry(LengthReward(2))})
    scores = scorer.score(completions)
    assert scores.failed_BK.tolist() == [[True, False]] * 4
    torch.testing.assert_close(scores.values_BK[:, 0], torch.full((4,), value, dtype=torch.float64), equal_nan=True)
    assert scores.values_BK[:, 1].tolist() == [1, 1, 0, 0]  # the other reward stays, for the logs
    assert scores.dropped_B.tolist() == [policy == "drop"] * 4


@pytest.mark.parametrize(("policy", "value"), [("abstain", NAN), ("zero", 0.0), ("drop", NAN)])
def test_an_exception_in_place_of_a_score_fails_that_completion_only(completions, scripted, policy, value):
    scores = scorer_of(scripted(lambda _: [0.5, OSError("no"), None, 1.0]), on_failure=policy).score(completions)
    expected = torch.tensor([[0.5], [value], [NAN], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(scores.values_BK, expected, equal_nan=True)
    assert scores.failed_BK.flatten().tolist() == [False, True, False, False]
    assert scores.dropped_B.tolist() == [False, policy == "drop", False, False]


def test_a_failure_of_one_of_several_rewards_is_marked_there(completions, scripted):
    returned = {"a": [1.0, OSError("no"), 1.0, 1.0], "b": [0.0] * 4}
    scores = scorer_of(scripted(lambda _: returned, reward_names=("a", "b"))).score(completions)
    assert scores.failed_BK.nonzero().tolist() == [[1, 0]]


def test_policy_raise_names_reward_completion_and_cause(completions, scripted):
    message = (
        r"reward 'r' failed on 1 of 4 completions \(on_failure: raise\); first: OSError: no; completion 2: 'text 2'"
    )
    error = OSError("no")
    with pytest.raises(RewardError, match=message) as caught:
        scorer_of(scripted(lambda _: [1.0, 1.0, error, 1.0]), on_failure="raise").score(completions)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "answer", [lambda _: [DataError("bad row")] * 4, lambda _: (_ for _ in ()).throw(DataError("bad row"))]
)
def test_an_error_in_the_input_ends_the_run_whatever_the_policy(completions, scripted, answer):
    with pytest.raises(RewardError, match="reward 'r': bad row") as caught:
        scorer_of(scripted(answer), on_failure="abstain").score(completions)
    assert isinstance(caught.value.__cause__, DataError)


def test_sys_exit_in_a_reward_is_a_failure(completions, scripted):
    assert scorer_of(scripted(lambda _: sys.exit(3))).score(completions).failed_BK.all()


def test_failures_are_logged_once_per_step_with_one_traceback(completions, scripted, caplog):
    scorer = scorer_of(scripted(boom))
    with caplog.at_level(logging.WARNING):
        scorer.score(completions)
        scorer.score(completions)
    first, second = caplog.records
    assert first.getMessage() == (
        "reward 'r' failed on 4 of 4 completions (on_failure: abstain); first: OSError: judge is down;"
        " completion 0: 'text 0'"
    )
    assert second.getMessage() == first.getMessage()
    assert first.exc_info
    assert not second.exc_info


# Time ----------------------------------------------------------------------------------------------------------------


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
    assert "reward 'slow' failed on 4 of 4" in caplog.text
    assert "no answer within 2 s; it cannot be stopped and still runs in the background (1 of 4)" in caplog.text
    # The next step gets a worker of its own while the first still hangs, and no late answer.
    assert scorer.score(completions).values_BK[:, 0].tolist() == [1.0] * 4
    assert scores.values_BK[:, 0].isnan().all()


def test_a_patient_reward_does_not_lengthen_the_limit_of_another(completions, scripted, release):
    def slow(c):
        release.wait(0.5)
        return [1.0] * len(c)

    scorer = RewardScorer(
        {"patient": RewardEntry(scripted(slow), timeout=600), "brief": RewardEntry(scripted(slow), timeout=0.1)}
    )
    assert scorer.score(completions).failed_BK.tolist() == [[False, True]] * 4


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
    assert "the event loop that all async rewards share was blocked" in caplog.text
    assert scorer.score(completions).values_BK.tolist() == [[1.0]] * 4
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


# Configuration -------------------------------------------------------------------------------------------------------


def test_rewards_and_columns_are_known_before_the_first_step(scripted):
    scorer = RewardScorer(
        {
            "a": RewardEntry(scripted(None, required_columns=["answer"])),
            "b": RewardEntry(scripted(None, required_columns=("answer", "tests"), reward_names=("x", "y"))),
            "c": RewardEntry(scripted(None)),
        }
    )
    assert scorer.names == ("a", "x", "y", "c")
    assert scorer.required_columns == {"answer": ("a", "b"), "tests": ("b",)}


def test_no_reward_at_all_is_refused():
    with pytest.raises(ConfigError, match="no reward is configured"):
        RewardScorer({})


def test_two_rewards_of_one_name_are_refused(scripted):
    entries = {"pass": RewardEntry(scripted(None)), "code": RewardEntry(scripted(None, reward_names=("pass", "bug")))}
    with pytest.raises(ConfigError, match="reward 'pass' is returned by two entries, 'pass' and 'code'"):
        RewardScorer(entries)


@pytest.mark.parametrize(
    ("attributes", "options", "message"),
    [
        ({}, {"weight": {"r": 1.0}}, "reward 'r' is a single reward: its weight must be one number"),
        (
            {"reward_names": ("pass", "bug")},
            {"weight": {"bugs": 1.0}},
            "unknown reward 'bugs'; did you mean 'bug'.*pass",
        ),
        ({}, {"weight": NAN}, "weight of reward 'r' must be a finite number; got nan"),
        ({}, {"weight": "1"}, "weight of reward 'r' must be a finite number; got '1'"),
        ({}, {"weight": True}, "weight of reward 'r' must be a finite number; got True"),
        ({"reward_names": ("a", "b")}, {"weight": {"a": math.inf}}, "weight of reward 'a' must be a finite number"),
        ({}, {"timeout": 0}, "reward 'r': timeout must be positive seconds below 9e.09, or null for none; got 0"),
        ({}, {"timeout": NAN}, "reward 'r': timeout must be positive"),
        (
            {},
            {"on_failure": "abstein"},
            "unknown on_failure 'abstein'; did you mean 'abstain'.*abstain, zero, drop, raise",
        ),
        ({"reward_names": "pass"}, {}, "`reward_names` of Scripted must be distinct names.*got 'pass'"),
        ({"reward_names": ()}, {}, r"`reward_names` of Scripted must be distinct names.*got \(\)"),
        ({"reward_names": ("a", "a")}, {}, "`reward_names` of Scripted must be distinct names"),
        ({"required_columns": "answer"}, {}, "`required_columns` of Scripted must be distinct names.*got 'answer'"),
    ],
)
def test_entries_that_cannot_work_are_refused(scripted, attributes, options, message):
    with pytest.raises(ConfigError, match=message):
        scorer_of(scripted(None, **attributes), **options)


def test_a_provider_without_score_is_refused():
    with pytest.raises(ConfigError, match=r"reward 'r': function is not a reward provider.*FunctionReward"):
        scorer_of(lambda completions: [1.0])
