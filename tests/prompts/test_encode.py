"""Encoding, prompts that are too long, and the check of columns."""

from __future__ import annotations

import copy
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morl.errors import ConfigError, DataError
from morl.prompts import check_columns, encode_prompts
from morl.types import Prompt


def chat(text, role="user"):
    return Prompt([{"role": role, "content": text}])


def test_text_gets_special_tokens_and_chats_the_template(tokenizer):
    encoded = encode_prompts([Prompt("ab", {"x": 1}), chat("hi")], tokenizer)
    assert len(encoded) == 2
    assert encoded[0].text == "ab"
    assert tokenizer.convert_ids_to_tokens(list(encoded[0].token_ids)) == ["<s>", "a", "b"]
    assert encoded[0].prompt.columns == {"x": 1}
    assert encoded[1].text == "[user]hi[assistant]"
    assert encoded[1].token_ids == tuple(tokenizer(encoded[1].text, add_special_tokens=False)["input_ids"])
    assert tokenizer.bos_token_id not in encoded[1].token_ids
    assert [each.index for each in encoded] == [0, 1]
    assert encoded[-1].index == 1
    assert [each.text for each in encoded[:1]] == ["ab"]


def test_rows_are_encoded_only_when_asked_for(tokenizer):
    class Counted(list):
        asked = 0

        def __getitem__(self, index):
            self.asked += 1
            return super().__getitem__(index)

    prompts = Counted(Prompt(str(i)) for i in range(1000))
    encoded = encode_prompts(prompts, tokenizer)
    assert encoded[500].text == "500"
    assert prompts.asked <= 2


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.integers(1, 14))
def test_skipping_keeps_just_the_prompts_that_fit(tokenizer, sizes, limit):
    prompts = [Prompt("x" * size) for size in sizes]
    short = [row for row, size in enumerate(sizes) if size + 1 <= limit]  # one more for <s>
    if short:
        assert [each.index for each in encode_prompts(prompts, tokenizer, max_tokens=limit, on_long="skip")] == short
    else:
        with pytest.raises(DataError, match="none is left"):
            encode_prompts(prompts, tokenizer, max_tokens=limit, on_long="skip")


def test_long_prompts_are_refused_or_skipped(tokenizer, caplog):
    prompts = [Prompt("x" * length) for length in (3, 9, 4, 20)]
    with pytest.raises(
        DataError,
        match=r"2 of 4 prompts are longer than 5 tokens \(max_prompt_tokens\); the longest, row 3, has 21",
    ):
        encode_prompts(prompts, tokenizer, max_tokens=5)
    with caplog.at_level(logging.WARNING):
        kept = encode_prompts(prompts, tokenizer, max_tokens=5, on_long="skip")
    assert [(each.index, len(each.token_ids)) for each in kept] == [(0, 4), (2, 5)]
    assert "2 of 4 prompts are longer" in caplog.text
    assert len(encode_prompts(prompts, tokenizer, max_tokens=21)) == 4
    with pytest.raises(DataError, match=r"4 of 4 prompts are longer .*; none is left"):
        encode_prompts(prompts, tokenizer, max_tokens=2, on_long="skip")


def test_no_prompts_and_unknown_policies_are_refused(tokenizer):
    with pytest.raises(DataError, match="there are no prompts to encode"):
        encode_prompts([], tokenizer)
    with pytest.raises(ConfigError, match="on_long must be 'error' or 'skip'; got 'drop'"):
        encode_prompts([Prompt("a")], tokenizer, on_long="drop")


def test_a_chat_needs_a_template(tokenizer):
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    with pytest.raises(DataError, match="row 0 is a chat, but the tokenizer 'tiny' has no chat template"):
        encode_prompts([chat("hi")], plain)
    assert encode_prompts([Prompt("hi")], plain)[0].text == "hi"


def test_a_chat_that_the_template_refuses_is_named(tokenizer):
    encoded = encode_prompts([chat("hi"), chat("hi", role="tool")], tokenizer)
    with pytest.raises(
        DataError, match=r"template of the tokenizer 'tiny' refuses the prompt of row 1: .*odd role tool"
    ):
        encoded[1]
    with pytest.raises(DataError, match="refuses the prompt of row 1"):
        encode_prompts([chat("hi"), chat("hi", role="tool")], tokenizer, max_tokens=99)


def test_a_prompt_without_tokens_is_named(tokenizer):
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = "{{ messages[0].content }}"
    encoded = encode_prompts([chat("a"), chat("")], bare)
    with pytest.raises(DataError, match="the prompt of row 1 encodes to no tokens: ''"):
        encoded[1]


# Columns -------------------------------------------------------------------------------------------------------------


def test_columns_that_rewards_need_must_be_there():
    prompts = [Prompt("a", {"answer": 1, "tests": []}), Prompt("b", {"answer": None})]
    check_columns(prompts, {"answer": ("correct",)})
    with pytest.raises(
        DataError,
        match=r"no column 'answr', which reward 'a', 'b' needs; did you mean 'answer'\?; row 0 has answer, tests",
    ):
        check_columns(prompts, {"answr": ("a", "b")})
    with pytest.raises(DataError, match="no column 'tests', which reward 'code' needs; row 1 has answer"):
        check_columns(prompts, {"tests": ("code",)})
    with pytest.raises(DataError, match="row 0 has no columns besides the prompt"):
        check_columns((Prompt("a"),), {"tests": ("code",)})


def test_of_lazy_rows_the_first_is_checked():
    class Lazy:
        def __getitem__(self, rows):
            assert rows == slice(None, 1)
            return [Prompt("a", {"answer": 1})]

    check_columns(Lazy(), {"answer": ("correct",)})
    with pytest.raises(DataError, match="no column 'tests'"):
        check_columns(Lazy(), {"tests": ("code",)})
