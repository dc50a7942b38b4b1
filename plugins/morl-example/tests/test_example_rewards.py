"""The two rewards, on texts whose scores can be counted by hand."""

from __future__ import annotations

import pytest

from morl.errors import ConfigError, DataError, RewardError
from morl.reward import RewardEntry, RewardScorer
from morl.testing import check_reward_provider
from morl.types import Completion, Prompt
from morl_example.rewards import DistinctNgrams, Keywords


def completion(text, keywords=("river", "Lamp")):
    return Completion(Prompt("Write.", {"keywords": list(keywords)}), text, ())


@pytest.mark.parametrize("reward", [Keywords, DistinctNgrams, lambda: DistinctNgrams(1)])
def test_the_rewards_keep_the_contract(reward):
    texts = ("", "The river.", "a lamp, a lamp, a lamp", "river LAMP")
    batch = [completion(text, keywords) for text in texts for keywords in (["river", "Lamp"], [])]
    check_reward_provider(reward, batch)


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0.0), ("The river.", 0.5), ("RIVER, lamp", 1.0), ("river river river", 0.5), ("rivers and lamps", 0.0)],
)
def test_keywords_count_once_as_whole_words(text, share):
    assert Keywords().score([completion(text)]) == [share]


def test_a_prompt_without_keywords_gets_no_score():
    assert Keywords().score([completion("a lamp", keywords=())]) == [None]


def test_a_column_that_holds_no_keywords_ends_the_run_whatever_the_failure_policy():
    scorer = RewardScorer({"uses": RewardEntry(Keywords("wanted"), on_failure="zero")})
    assert scorer.required_columns == {"wanted": ("uses",)}
    wrong = Completion(Prompt("Write.", {"wanted": "river"}), "a river", ())
    with pytest.raises(DataError, match="'wanted' must hold a list of keywords; got 'river'"):
        Keywords("wanted").score([wrong])
    with pytest.raises(RewardError, match="must hold a list of keywords"):
        scorer.score([wrong])


@pytest.mark.parametrize(
    ("text", "n", "share"),
    [
        ("a b c d", 2, 1.0),
        ("a b a b a", 2, 0.5),
        ("A a a a", 1, 0.25),
        ("a b, a? b", 3, 1.0),
        ("a b", 3, None),
        ("", 1, None),
    ],
)
def test_repeated_ngrams_lower_the_score_and_too_few_words_have_none(text, n, share):
    assert DistinctNgrams(n).score([completion(text)]) == [share]


def test_ngrams_have_at_least_one_word():
    with pytest.raises(ConfigError, match="n must be at least 1 word; got 0"):
        DistinctNgrams(0)
