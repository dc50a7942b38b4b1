"""What ends a completion, and how the text is watched for stop strings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from morl.policy.load import load_tokenizer
from morl.rollout.ends import StopStrings, end_tokens

wrapped: Any = PreTrainedTokenizerFast  # transformers leaves it untyped


def byte_level() -> Any:
    """One token per byte, and an end-of-sequence token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return wrapped(tokenizer_object=tokenizer, eos_token="<eos>")


def words() -> Any:
    """One token per word; decoding joins words by spaces."""
    vocabulary = ["<unk>", "<eos>", "a", "b", "end", "."]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return wrapped(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")


TOKENIZERS = {"bytes": byte_level(), "words": words()}


def first_end(tokenizer: Any, ids: list[int], stop: tuple[str, ...]) -> int | None:
    """Length of the shortest head whose text contains a stop string, the plain way."""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:end], skip_special_tokens=True)
        if any(s in text for s in stop):
            return end
    return None


def watched_end(tokenizer: Any, ids: list[int], stop: tuple[str, ...]) -> int | None:
    strings = StopStrings(stop, tokenizer)
    return next((end for end in range(1, len(ids) + 1) if strings.ended(ids[:end])), None)


@pytest.mark.parametrize(
    ("kind", "text", "stop"),
    [
        ("bytes", "yes </answer> no", ("</answer>",)),
        ("bytes", "one\n\ntwo", ("\n\n",)),
        ("bytes", "x é y", ("é",)),
        ("bytes", "emoji 🙂🙂 two", ("🙂🙂",)),
        ("bytes", "nothing here", ("never",)),
        ("bytes", "aab", ("ab", "b")),
        ("words", "a b end . a", ("end .",)),
        ("words", "a b a", ("b ",)),
    ],
)
def test_ends_where_the_text_first_contains_a_stop_string(kind: str, text: str, stop: tuple[str, ...]) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert watched_end(tokenizer, ids, stop) == first_end(tokenizer, ids, stop)


def test_special_tokens_do_not_split_a_stop_string() -> None:
    tokenizer = TOKENIZERS["bytes"]
    ids = tokenizer("ab").input_ids
    split = [ids[0], *[tokenizer.eos_token_id] * 30, ids[1]]
    assert watched_end(tokenizer, split, ("ab",)) == len(split)


@given(
    st.text(alphabet="ab \né", max_size=30), st.lists(st.text(alphabet="ab \né", min_size=1, max_size=3), min_size=1)
)
def test_looking_at_tails_finds_what_looking_at_all_finds(text: str, stop: list[str]) -> None:
    tokenizer = TOKENIZERS["bytes"]
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert watched_end(tokenizer, ids, tuple(stop)) == first_end(tokenizer, ids, tuple(stop))


def test_end_tokens_are_those_of_tokenizer_and_model(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    own = tokenizer.eos_token_id
    assert end_tokens(tokenizer, None) == {own}
    assert end_tokens(tokenizer, SimpleNamespace(eos_token_id=7)) == {own, 7}
    assert end_tokens(tokenizer, SimpleNamespace(eos_token_id=[7, 9])) == {own, 7, 9}
    assert end_tokens(SimpleNamespace(eos_token_id=None), SimpleNamespace(eos_token_id=None)) == frozenset()
