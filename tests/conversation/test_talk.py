"""One conversation: what limits it, what it earned, and whose weights drew it."""

from __future__ import annotations

import pytest

from morl.conversation.talk import Drawn, Limits, Talk
from morl.types import CompletionStatus, EncodedPrompt, Prompt, Sampling


def talk(max_tokens=4):
    prompt = EncodedPrompt(index=0, prompt=Prompt("ab"), text="ab", token_ids=(1, 2))
    return Talk(prompt, 0, 0, 7, Sampling(max_tokens=max_tokens))


def say(conversation, ids, limits, version=1, truncated=False):
    drawn = Drawn([*ids], [-1.0] * len(ids), "said", truncated, version)
    conversation.say(drawn, limits, lambda kept: f"{len(kept)} tokens")


@pytest.mark.parametrize(
    ("tokens", "context", "cut", "kept"),
    [
        (None, None, CompletionStatus.TRUNCATED, 4),
        (4, None, CompletionStatus.TRUNCATED, 4),  # of two limits that meet, that of the turn
        (3, None, CompletionStatus.TOKEN_LIMIT, 3),
        (None, 5, CompletionStatus.CONTEXT_FULL, 3),
        (3, 5, CompletionStatus.TOKEN_LIMIT, 3),  # both end at the same token
        (3, 4, CompletionStatus.CONTEXT_FULL, 2),
    ],
)
def test_a_turn_is_cut_by_the_limit_that_comes_first(tokens, context, cut, kept):
    one = talk()
    say(one, [5, 6, 7, 8], Limits(turns=9, tokens=tokens, context=context), truncated=True)
    assert (one.cut, one.ids, one.logprobs) == (cut, [5, 6, 7, 8][:kept], [-1.0] * kept)
    assert one.turns[-1].text == ("said" if kept == 4 else f"{kept} tokens")
    assert one.turns[-1].truncated


def test_a_turn_that_ends_by_itself_is_not_cut():
    one = talk()
    say(one, [5, 6, 7, 0], Limits(turns=9, tokens=4))
    assert one.cut is None
    assert not one.turns[-1].truncated


def test_what_a_turn_is_given_adds_up_and_nothing_takes_nothing_away():
    one = talk()
    say(one, [5], Limits(turns=9))
    for given in ({"score": None, "bonus": 1.0}, {"score": 0.5}, {"score": 2.0, "bonus": None}):
        one.reward(given)
    assert one.turns[-1].rewards == {"score": 2.5, "bonus": 1.0}
    say(one, [6], Limits(turns=9))
    one.reward({"bonus": None})
    assert (one.earned("score"), one.earned("bonus"), one.earned("other")) == (2.5, 1.0, None)


def test_a_conversation_bears_the_version_of_its_oldest_turn():
    one = talk()
    for version in (3, 2, 4):
        say(one, [5], Limits(turns=9), version=version)
    assert one.version == 2
