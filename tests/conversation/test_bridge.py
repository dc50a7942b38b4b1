"""What a chat template puts between two turns, for the templates of 24 models."""

from __future__ import annotations

from typing import Any

import pytest
from chat_families import TEMPLATES, end_ids, family_tokenizer

from morl.conversation import ReplyFormat
from morl.prompts.template import ChatTemplate

USER = {"role": "user", "content": "and now?"}


def reply_format(name: str, **options: Any) -> ReplyFormat:
    return ReplyFormat.of(family_tokenizer(name), template=ChatTemplate(), end_ids=end_ids(name), **options)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_reply_that_was_cut_is_ended_with_a_token_that_was_not_sampled(name):
    tokenizer, format = family_tokenizer(name), reply_format(name)
    reply = tokenizer.encode("it is 42", add_special_tokens=False)
    cut = format.continuation(reply, [USER])
    ended = format.continuation([*reply, cut[0]], [USER]) if cut[0] in format.ends else cut
    assert cut[-len(ended) :] == ended
    assert "and now?" in tokenizer.decode(ended)
