"""A policy of a few hundred weights, all of which matter, and prompts of a few characters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from plain_setup import own_temperature
from recorded_run import LETTERS


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer Qwen2 whose tokens are single characters.

    Few weights stand still, so that a run moves far in comparison with the rounding of the weights.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

    folder = tmp_path_factory.mktemp("small-model")
    vocabulary = {token: number for number, token in enumerate(["<eos>", "<pad>", *LETTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>").save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(vocabulary),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        initializer_range=0.3,
        eos_token_id=0,
        pad_token_id=1,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def few_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten prompts of 1 to 5 tokens, a run goes through them more than once, with a column of temperatures."""
    path = tmp_path_factory.mktemp("few-prompts") / "prompts.jsonl"
    texts = ["a", "ab", "abc", "abcd", "abcde", "x5", "x6", "x7", "x8", "x9"]
    rows = [{"prompt": text, "drawn": {"temperature": own_temperature(len(text))}} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
