"""A whole evaluation and a short training with a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import morl
from morl.evaluation.run import evaluate_model

TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two layers, 16 wide, that read bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    fast.chat_template = TEMPLATE
    folder: Path = tmp_path_factory.mktemp("model")
    fast.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=16_384,
        tie_word_embeddings=True,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


def config(model: str, **more: Any) -> dict[str, Any]:
    return {
        "policy": {"path": model},
        "prompts": {"name": "bfcl", "category": ["simple_python", "irrelevance"], "limit": 2},
        "sampling": {"max_tokens": 4},
        "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
        **more,
    }


def test_evaluation_by_category(model: str) -> None:
    """Whoever says nothing that can be read is right where no call is."""
    held_out = {"name": "bfcl", "category": ["simple_python", "irrelevance"], "limit": 2, "skip": 2}
    evaluation = evaluate_model(
        config(
            model,
            evaluation={"prompts": held_out, "samples": 1, "temperature": 0},
            rewards={"category": {"name": "bfcl-ast-by-category", "categories": ["simple_python", "irrelevance"]}},
        ),
        model,
    )
    figures = evaluation.figures.rewards
    assert {name: (figure.mean.mean, figure.scored) for name, figure in figures.items()} == {
        "simple_python": (0.0, 2),
        "irrelevance": (1.0, 2),
    }
    assert figures["irrelevance"].mean.low is not None


def test_training(model: str, tmp_path: Path) -> None:
    rewards = {"ast": {"name": "bfcl-ast"}, "format": {"name": "bfcl-format"}, "short": {"name": "length", "limit": 8}}
    training = {"steps": 2, "prompts_per_step": 2, "samples_every": 0}
    result = morl.train(config(model, output=str(tmp_path), rewards=rewards, training=training))
    assert result.rewards == ("ast", "format", "short")
    assert result.model.is_dir()
