"""Fixtures for all tests: a tiny model folder in Hugging Face form, a browser, and real data if it is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from browser import Browser, find_chromium

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def build_model_folder(folder: Path, *, text: str, seed: int = 0, vocabulary: int = 400, **config: object) -> Path:
    """Saves a tiny Qwen2 with a byte-level BPE tokenizer trained on `text`; returns the folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    options = {
        "vocab_size": len(fast),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "initializer_range": 0.1,
        "eos_token_id": fast.eos_token_id,
        "pad_token_id": fast.pad_token_id,
        "bos_token_id": None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(Qwen2Config(**(options | config)))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that `AutoModelForCausalLM` and `AutoTokenizer` load: 2 layers, 32 wide, byte-level vocabulary."""
    text = "the answer is a number: 0 1 2 3 4 5 6 7 8 9. yes no <think> </think> <answer> </answer> " * 20
    return build_model_folder(tmp_path_factory.mktemp("tiny-model"), text=text)


@pytest.fixture(scope="session")
def make_model_folder():
    """`make_model_folder(folder, text=..., vocabulary=..., **config)`: another tiny model, with its own vocabulary."""
    return build_model_folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets beside the checkout; a clone without them skips, and self-made data covers the same code."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data beside this checkout")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium.  Without one these tests are skipped; with `MORL_BROWSER=required`, as in CI, they fail."""
    chromium = find_chromium()
    if chromium is None:
        reason = "no Chromium: install it (Debian: apt-get install chromium), or name one in MORL_CHROMIUM"
        if os.environ.get("MORL_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    with Browser.started(chromium) as running:
        yield running
