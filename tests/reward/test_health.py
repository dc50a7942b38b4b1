"""A reward that fails on everything ends the run; one that fails now and then does not."""

from __future__ import annotations

import pytest

from morl.errors import RewardError
from morl.reward import FunctionReward, RewardEntry, RewardScorer, When
from morl.reward.environment import failure
from morl.reward.health import Health, Tally
from morl.types import Completion, CompletionStatus, Prompt


def step(scorer: RewardScorer, *texts: str, **columns: object) -> None:
    scorer.score([Completion(Prompt("2+2?", columns), text, ()) for text in texts])
    scorer.judge([scorer.take_tallies()])


def moody(solution_str: str, ground_truth: str) -> float:
    if solution_str == "bad":
        raise OSError("judge is down")
    return 1.0


def scorer_of(function: object = moody, **options: object) -> RewardScorer:
    return RewardScorer({"judge": RewardEntry(FunctionReward(function), **options)})  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["abstain", "zero", "drop"])
def test_a_reward_that_never_gave_a_score_ends_the_run_on_its_first_step(policy):
    scorer = scorer_of(on_failure=policy)
    with pytest.raises(RewardError) as caught:
        step(scorer, "bad", "bad", ground_truth="4", data="x" * 1000)
    message = str(caught.value)
    assert "reward 'judge' failed on all 2 completions of its first step, and has never given a score" in message
    assert "max_failed_steps" in message
    for part in (
        "OSError: judge is down",
        "in moody",
        "completion: 'bad'",
        "  ground_truth: '4'",
        "prompt: text, '2+2?'",
    ):
        assert part in message
    assert "x" * 100 not in message, "what it was given is shortened"


def test_what_ends_the_run_is_said_once_and_begins_with_the_reason(caplog):
    """Neither a warning that says the same before, nor a traceback of something that was not raised."""
    scorer = scorer_of(lambda completions, **columns: ["good"] * len(completions))
    with pytest.raises(RewardError) as caught:
        step(scorer, "a", "b")
    assert not caplog.records
    assert str(caught.value).splitlines() == [
        "reward 'judge' failed on all 2 completions of its first step, and has never given a score: a score is a"
        " number, or None where the reward does not apply; got 'good' (str)",
        "mend it, or set its max_failed_steps to null to train without its scores",
        "prompt: text, '2+2?'",
        "completion: 'a'",
        "columns: none",
    ]


def test_a_traceback_begins_where_it_leaves_morl():
    scorer = scorer_of()
    with pytest.raises(RewardError) as caught:
        step(scorer, "bad", "bad", ground_truth="4")
    traceback = str(caught.value).partition("Traceback")[2]
    assert "in moody" in traceback
    assert "/morl/" not in traceback


def test_a_failure_that_another_rank_makes_up_for_is_a_warning_all_the_same(caplog):
    scorer = scorer_of()
    scorer.score([Completion(Prompt("2+2?", {"ground_truth": "4"}), "bad", ())] * 2)
    assert not caplog.records
    scorer.judge([scorer.take_tallies(), {"judge": Tally(2, 0)}])
    assert "reward 'judge' failed on 2 of 2 completions" in caplog.text


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_reward_without_a_single_score_is_a_warning_once(nothing, caplog):
    scorer = scorer_of(lambda completions, **columns: [nothing] * len(completions))
    for _ in range(2):
        step(scorer, "a", "b", "c", "d")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "reward 'judge' gave none of the 4 completions of its first step a score"
    ]


@pytest.mark.parametrize(
    "steps", [[[None] * 3], [[None, None, None, 1.0]], [[1.0, None], [None] * 4]], ids=["few", "one", "later"]
)
def test_a_reward_that_gave_a_score_or_was_asked_about_a_few_is_no_warning(steps, caplog):
    given = iter(steps)
    scorer = scorer_of(lambda completions, **columns: next(given))
    for scores in steps:
        step(scorer, *("x" * len(scores)))
    assert not caplog.records


def bare(completions, answers, **columns):  # wrong column
    return [1.0 for _ in completions]


def of_strings(completions, **columns):
    return [float(len(text.strip())) for text in completions]


def test_chat_lists_where_strings_were_expected_are_shown():
    scorer = scorer_of(of_strings)
    prompt = Prompt([{"role": "user", "content": "2+2?"}])
    scorer.score([Completion(prompt, "4", ())] * 2)
    with pytest.raises(RewardError, match=r"(?s)prompt: chat messages.*'list' object has no attribute 'strip'"):
        scorer.judge([scorer.take_tallies()])


def test_later_it_takes_so_many_whole_steps_in_a_row():
    scorer = scorer_of(max_failed_steps=3)
    good, bad = ("good", "bad"), ("bad", "bad")
    for texts in (good, bad, bad, good, bad, bad):
        step(scorer, *texts, ground_truth="4")
    with pytest.raises(RewardError, match="failed 3 steps in a row, of the last on all 2 completions"):
        step(scorer, *bad, ground_truth="4")


def test_without_a_limit_it_never_ends_the_run():
    scorer = scorer_of(max_failed_steps=None)
    for _ in range(5):
        step(scorer, "bad", "bad", ground_truth="4")


def test_a_lone_completion_and_a_missing_score_are_no_evidence():
    scorer = scorer_of()
    step(scorer, "bad", ground_truth="4")
    sometimes = scorer_of(lambda completions, **columns: [None, OSError("no")])
    step(sometimes, "a", "b")


def test_one_of_several_rewards_of_a_provider_is_enough():
    class Code:
        reward_names = ("passes", "bug")

        def score(self, completions):
            return {"passes": [1.0] * len(completions), "bug": [OSError("no")] * len(completions)}

    scorer = RewardScorer({"code": RewardEntry(Code())})
    with pytest.raises(RewardError, match="reward 'bug' failed on all 2"):
        step(scorer, "a", "b")


def test_the_tallies_of_all_ranks_count_together():
    """One rank whose prompts are all bad is no evidence; and every rank comes to the same end."""
    fine, broken = Tally(4, 0), Tally(4, 4, "the example")
    for ranks in ([{"r": fine}, {"r": broken}], [{"r": broken}, {"r": fine}], [{}, {"r": fine}]):
        health = Health({"r": 3})
        health.judge(ranks)
        for _ in range(2):
            health.judge([{"r": broken}, {}])
        with pytest.raises(RewardError, match=r"3 steps in a row(?s:.*)the example"):
            health.judge([{}, {"r": broken}])
    with pytest.raises(RewardError, match="on all 8 completions of its first step"):
        Health({"r": 3}).judge([{"r": broken}, {"r": broken}])


# Which rows a reward applies to --------------------------------------------------------------------------------------


def test_a_reward_is_asked_where_its_column_says_so_and_missing_elsewhere(scripted):
    asked = []

    def answer(completions):
        asked.append([completion.text for completion in completions])
        return [1.0] * len(completions)

    when = When.of({"column": "task", "is": ["math", "logic"]})
    scorer = RewardScorer({"r": RewardEntry(scripted(answer), when=when, on_failure="zero")})
    tasks = ["math", "chat", None, "logic"]
    completions = [Completion(Prompt("?", {"task": task} if task else {}), str(n), ()) for n, task in enumerate(tasks)]
    scores = scorer.score(completions)
    assert asked == [["0", "3"]]
    assert scores.values_BK[:, 0].isnan().tolist() == [False, True, True, False]
    assert not scores.failed_BK.any()
    scorer.score(completions[1:3])
    assert len(asked) == 1, "where it applies to none it is not asked"


def test_failures_are_those_of_the_rows_that_were_asked(scripted):
    provider = scripted(lambda completions: [OSError("no")] * len(completions))
    scorer = RewardScorer({"r": RewardEntry(provider, when=When("task", ("math",)), on_failure="drop")})
    completions = [Completion(Prompt("?", {"task": task}), "", ()) for task in ("chat", "math", "math")]
    scores = scorer.score(completions)
    assert scores.failed_BK[:, 0].tolist() == scores.dropped_B.tolist() == [False, True, True]
    with pytest.raises(RewardError, match="on all 2 completions"):
        scorer.judge([scorer.take_tallies()])


@pytest.mark.parametrize(
    ("value", "wanted", "applies"), [(1, 1, True), (True, 1, False), ("1", 1, False), (False, False, True)]
)
def test_values_are_compared_with_their_kind(value, wanted, applies):
    assert When.of({"column": "c", "is": wanted})(Prompt("?", {"c": value})) is applies


def test_a_late_environment_is_named_once():
    late = CompletionStatus.ENVIRONMENT_TIMEOUT
    completion = Completion(Prompt("a"), "", (), status=late, info={"failure": "TimeoutError: no answer within 2 s"})
    error = failure(completion)
    assert (type(error), str(error)) == (TimeoutError, "no answer within 2 s")
