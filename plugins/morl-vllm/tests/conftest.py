"""Tiny models that the engine can run on a CPU: attention heads of 32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from morl.policy.load import load_policy, load_tokenizer
from morl.policy.model import PolicyModel
from morl.types import EncodedPrompt, Prompt
from morl_vllm.backend import VllmBackend

TEXT = "the answer is a number: 0 1 2 3 4 5 6 7 8 9. yes no <think> </think> <answer> </answer> " * 20


def build_model(folder: Path, family: str = "Qwen2", **options: Any) -> Path:
    """Saves a random model of two layers with a byte-level tokenizer; returns the folder."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
    fast.save_pretrained(folder)
    config = getattr(transformers, f"{family}Config")(
        **{
            "vocab_size": len(fast),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
            "initializer_range": 0.1,
            "eos_token_id": fast.eos_token_id,
            "pad_token_id": fast.pad_token_id,
            "bos_token_id": None,
        }
        | options
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tied_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Qwen2 whose head is its embedding."""
    return str(build_model(tmp_path_factory.mktemp("tied")))


@pytest.fixture(scope="session")
def make_model():
    """`make_model(folder, family, **config)`: another tiny model."""
    return build_model


@pytest.fixture(scope="session")
def started() -> Callable[..., AbstractContextManager[VllmBackend]]:
    """`with started(path, policy, **options) as backend`: the backend `vllm`, with an engine until the end."""

    @contextmanager
    def start(path: str, policy: PolicyModel | None = None, **options: Any) -> Iterator[VllmBackend]:
        backend = VllmBackend(**({"kv_cache_gib": 0.125} | options))
        try:
            backend.start(policy or load_policy(path), load_tokenizer(path), path)
            yield backend
        finally:
            backend.close()

    return start


@pytest.fixture(scope="session")
def encoded() -> Callable[..., list[EncodedPrompt]]:
    """`encoded(ids, ..)`: a prompt of each row of token ids."""

    def encode(*rows: Sequence[int]) -> list[EncodedPrompt]:
        return [EncodedPrompt(Prompt(""), "", tuple(ids), index) for index, ids in enumerate(rows)]

    return encode
