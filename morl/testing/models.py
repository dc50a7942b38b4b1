"""A model small enough for tests, made on the spot: no download."""

from __future__ import annotations

from pathlib import Path

import torch

CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
TEXT = "the answer is a number: 0 1 2 3 4 5 6 7 8 9. yes no <think> </think> <answer> </answer> " * 20


def tiny_model(
    folder: Path,
    *,
    text: str = TEXT,
    seed: int = 0,
    vocabulary: int = 400,
    chat_template: str = CHAT_TEMPLATE,
    **config: object,
) -> Path:
    """Saves a tiny random Qwen2, 2 layers and 32 wide, with a byte-level BPE tokenizer trained on `text`.

    Args:
        folder: to make, in Hugging Face form; returned.
        text: for the tokenizer's merges.
        seed: of the weights.
        vocabulary: largest number of tokens; 258 are bytes, an end and a padding.
        chat_template: of the tokenizer.
        config: of `transformers.Qwen2Config`, in place of what makes it tiny.
    """
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
    fast.chat_template = chat_template
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
