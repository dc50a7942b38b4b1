"""The rewards on text and length."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.errors import ConfigError
from morl.reward import ExactMatchReward, LengthReward, RegexReward, RewardEntry, RewardScorer, TagsReward
from morl.reward.patterns import within
from morl.types import Completion, Prompt


def texts(*values: str, **columns: object) -> list[Completion]:
    return [Completion(Prompt("?", columns), value, ()) for value in values]


# Regex ---------------------------------------------------------------------------------------------------------------


def test_regex_searches_or_covers_the_whole_text():
    completions = texts("a 42 b", "42", "none", "")
    assert RegexReward("[0-9]+").score(completions) == [1, 1, 0, 0]
    assert RegexReward("[0-9]+", full_match=True).score(completions) == [0, 1, 0, 0]
    assert RegexReward("(?i)NONE").score(completions) == [0, 0, 1, 0]


def test_a_pattern_that_does_not_compile_is_refused():
    with pytest.raises(ConfigError, match=r"pattern is not a regular expression: .* at position .*; got '\(\[0-9\]'"):
        RegexReward("([0-9]")
    with pytest.raises(ConfigError, match="extract_reference is not a regular expression"):
        ExactMatchReward("answer", extract_reference="(")


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_a_limit_that_no_match_can_keep_is_refused(limit):
    for reward in (lambda: RegexReward("a", time_limit=limit), lambda: ExactMatchReward("a", time_limit=limit)):
        with pytest.raises(ConfigError, match="time_limit must be positive seconds of processor time; got "):
            reward()


CATASTROPHIC = "(a|aa)+$"


def test_a_pattern_that_backtracks_for_ever_fails_its_completion_only():
    scores = RewardScorer({"r": RewardEntry(RegexReward(CATASTROPHIC, time_limit=2.0))}).score(
        texts("a" * 60 + "!", "aaa")
    )
    assert scores.failed_BK.flatten().tolist() == [True, False]
    assert scores.values_BK[1] == 1


def test_other_threads_run_while_a_pattern_backtracks():
    reward = RegexReward(CATASTROPHIC, time_limit=2.0)
    thread = threading.Thread(target=reward.score, args=(texts("a" * 60 + "!"),))
    thread.start()
    for _ in range(5):  # more would be a matter of time on a busy machine
        time.sleep(0.01)
    assert thread.is_alive(), "it held this thread up until it was done"
    thread.join()


def keep_busy(stop):
    block = bytes(1 << 20)
    while not stop.is_set():
        hashlib.sha256(block).digest()  # releases the interpreter, so that every core is used


@pytest.fixture
def busy_process():
    """Other threads of the process that use all the processor time they get."""
    stop = threading.Event()
    threads = [threading.Thread(target=keep_busy, args=(stop,), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("busy_process")
def test_the_limit_counts_the_match_and_not_the_other_threads():
    before = time.thread_time()
    slow = "(a|aa)+$", "a" * 25 + "!"
    assert RegexReward(slow[0], time_limit=60).score(texts(slow[1])) == [0]
    needed = time.thread_time() - before
    process = time.process_time()
    assert RegexReward(slow[0], time_limit=3 * needed).score(texts(slow[1] + " ")) == [0]
    assert ExactMatchReward("answer", extract=slow[0], time_limit=3 * needed).score(texts(slow[1], answer="a")) == [0]
    # The process has used more than the limit for each of the two, or this would have shown nothing.
    assert time.process_time() - process > 2 * 3 * needed


@pytest.mark.usefixtures("busy_process")
def test_the_limit_ends_a_match_in_a_busy_process():
    before = time.thread_time()
    (score,) = RegexReward(CATASTROPHIC, time_limit=0.05).score(texts("a" * 60 + "!"))
    assert isinstance(score, TimeoutError)
    assert "no match within 0.05 s of processor time" in str(score)
    assert time.thread_time() - before >= 0.05


def test_a_match_that_was_cut_short_starts_again_with_more(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("morl.reward.patterns.time.thread_time", lambda: clock[0])
    timeouts = []

    def match(timeout, share, needed):
        timeouts.append(timeout)
        if timeout * share < needed:
            clock[0] += timeout * share
            raise TimeoutError
        clock[0] += needed
        return "found"

    assert within(1.0, lambda timeout: match(timeout, share=0.1, needed=0.9)) == "found"
    assert timeouts == pytest.approx([1.25, 12.5])
    with pytest.raises(TimeoutError, match="no match within 1 s of processor time"):
        within(1.0, lambda timeout: match(timeout, share=0.1, needed=10.0))
    assert timeouts[2:] == pytest.approx([1.25, 12.5])
    # No progress at all: the limit of the process still grows, a hundredfold at most.
    assert within(1.0, lambda timeout: match(timeout, share=1e-12, needed=1e-10)) == "found"
    assert timeouts[4:] == pytest.approx([1.25, 125])


# Tags ----------------------------------------------------------------------------------------------------------------

GOOD = "<think>a</think>\n<answer>b</answer>"


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (GOOD, 1),
        (f" \n{GOOD}\n", 1),
        ("<think></think><answer></answer>", 1),
        ("<think>x < y > z <b>bold</b></think><answer>b</answer>", 1),
        ("<answer>b</answer><think>a</think>", 0),
        ("<think>a</think>", 0),
        (GOOD + GOOD, 0),
        (GOOD + "<answer>c</answer>", 0),
        ("<think>a</think>\n<answer>b", 0),
        ("<think>a<answer>b</answer></think>", 0),
        ("<think>a<think>b</think></think><answer>c</answer>", 0),
        ("so: " + GOOD, 0),
        ("<think>a</think>then<answer>b</answer>", 0),
        (GOOD + ".", 0),
        ("<Think>a</Think><answer>b</answer>", 0),
        ("", 0),
    ],
)
def test_tags_must_stand_once_in_order_and_alone(text, score):
    assert TagsReward(["think", "answer"]).score(texts(text)) == [score]


def test_text_outside_may_be_allowed():
    reward = TagsReward(["think", "answer"], text_outside=True)
    assert reward.score(texts(f"so {GOOD} done", "<think>a</think> then", GOOD + GOOD)) == [1, 0, 0]


def test_the_prompt_may_have_opened_the_first_block():
    reward = TagsReward(["think", "answer"], opened_by_prompt=True)
    assert reward.score(texts("a</think><answer>b</answer>", GOOD)) == [1, 0]


def test_blocks_may_have_to_hold_something():
    reward = TagsReward(["think", "answer"], non_empty=True)
    empty = ["<think></think><answer>b</answer>", "<think>a</think><answer> \n</answer>", "<think/>", ""]
    assert reward.score(texts(GOOD, *empty)) == [1, 0, 0, 0, 0]
    opened = TagsReward(["think", "answer"], non_empty=True, opened_by_prompt=True)
    assert opened.score(texts("a</think><answer>b</answer>", "</think><answer>b</answer>")) == [1, 0]
    outside = TagsReward(["answer"], non_empty=True, text_outside=True)
    assert outside.score(texts("so <answer>b</answer> it is", "so <answer></answer> it is")) == [1, 0]


@given(st.lists(st.text(st.characters(exclude_characters="<>"), max_size=5), min_size=3, max_size=3))
def test_what_stands_inside_the_blocks_does_not_matter(inside):
    text = "".join(f"<{tag}>{each}</{tag}>" for tag, each in zip("abc", inside, strict=True))
    assert TagsReward(list("abc")).score(texts(text)) == [1]


@pytest.mark.parametrize("tags", [[], ["a", "a"], ["<think>"], ["two words"], [""], "think"])
def test_tags_that_are_no_names_are_refused(tags):
    with pytest.raises(ConfigError, match="tags must be distinct names without brackets"):
        TagsReward(tags)


# Length --------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(0, 20))
def test_length_counts_tokens(limit, length):
    completion = Completion(Prompt("?"), "whatever", tuple(range(length)))
    assert LengthReward(limit).score([completion]) == [1.0 if length <= limit else 0.0]


def test_a_truncated_completion_may_be_refused_its_point():
    truncated = [Completion(Prompt("?"), "", (1, 2), truncated=True)]
    assert LengthReward(2).score(truncated) == [1]
    assert LengthReward(2, allow_truncated=False).score(truncated) == [0]


def test_a_limit_without_room_is_refused():
    with pytest.raises(ConfigError, match="limit must be at least 1 token; got 0"):
        LengthReward(0)


# Exact match ---------------------------------------------------------------------------------------------------------


def test_exact_match_strips_and_may_ignore_case():
    completions = texts(" Paris\n", "paris", "London", answer="Paris")
    assert ExactMatchReward("answer").score(completions) == [1, 0, 0]
    assert ExactMatchReward("answer", ignore_case=True).score(completions) == [1, 1, 0]
    assert ExactMatchReward("answer", strip=False).score(completions) == [0, 0, 0]


def test_the_last_match_counts_and_its_first_group():
    completions = texts("#### 3 no, #### 4", "#### 4 no, #### 3", "4", answer="so it is\n#### 4")
    reward = ExactMatchReward("answer", extract=r"#### (\d+)", extract_reference=r"#### (\d+)")
    assert reward.score(completions) == [1, 0, 0]
    assert ExactMatchReward("answer", extract=r"\d+").score(texts("3, 4", answer=4)) == [1]
    assert ExactMatchReward("answer", extract=r"x(\d+)?").score(texts("x", answer="4")) == [0]


def test_a_row_without_answer_has_no_score_and_a_bad_row_fails_alone():
    reward = ExactMatchReward("answer", extract_reference="#### (.+)")
    completions = [*texts("4", answer=None), *texts("4", answer="no mark"), *texts("4", answer=[4]), *texts("4")]
    scores = RewardScorer({"r": RewardEntry(reward)}).score([*completions, *texts("4", answer="#### 4")])
    assert scores.failed_BK.flatten().tolist() == [False, True, True, True, False]
    assert scores.values_BK.isnan().flatten().tolist() == [True, True, True, True, False]
    failures = [str(score) for score in reward.score(completions)[1:]]
    assert "nothing in column 'answer' matches '#### (.+)': 'no mark'" in failures[0]
    assert "column 'answer' must hold text or a number; got list" in failures[1]


def test_exact_match_obeys_its_time_limit():
    reward = ExactMatchReward("answer", extract=CATASTROPHIC, time_limit=0.1)
    (score,) = reward.score(texts("a" * 60 + "!", answer="a"))
    assert isinstance(score, TimeoutError)


def test_exact_match_names_its_column():
    assert RewardScorer({"r": RewardEntry(ExactMatchReward("gold"))}).required_columns == {"gold": ("r",)}
