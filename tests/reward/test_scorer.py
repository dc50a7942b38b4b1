"""Scores, failures and refusals of `RewardScorer`."""

from __future__ import annotations

import logging
import math
import re
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from morl.errors import ConfigError, DataError, RewardError
from morl.reward import LengthReward, RewardEntry, RewardScorer
from morl.types import Completion, Prompt

NAN = math.nan


def scorer_of(provider: Any, **options: Any) -> RewardScorer:
    return RewardScorer({"r": RewardEntry(provider, **options)})


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
        assert not caplog.records, "the error that may end the run here says the same"
        scorer.score(completions)
        scorer.close()
    first, second = caplog.records
    assert first.getMessage() == (
        "reward 'r' failed on 4 of 4 completions (on_failure: abstain); first: OSError: judge is down;"
        " completion 0: 'text 0'"
    )
    assert second.getMessage() == first.getMessage()
    assert first.exc_info
    assert not second.exc_info


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
