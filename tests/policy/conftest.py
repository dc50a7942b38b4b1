"""Tiny models of every family the tests name, with weights large enough that attention shows in the outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
import transformers
from model_families import EXPERTS, PACKED, SIZES, SLIDING
from torch import Tensor
from transformers import PreTrainedModel

VOCAB = SIZES["vocab_size"]
_GPT2 = {
    "vocab_size": VOCAB,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
LONGROPE = {
    "rope_parameters": _ROPE
    | {
        "rope_type": "longrope",
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "factor": 8.0,
        "original_max_position_embeddings": 32,
    },
    "original_max_position_embeddings": 32,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "gemma": ("Gemma", {"head_dim": 16, "num_key_value_heads": 1}),
    "gemma2": ("Gemma2", {"head_dim": 8, "sliding_window": 7, "layer_types": SLIDING, "attn_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3Text", {"head_dim": 8, "sliding_window": 7, "layer_types": SLIDING}),
    "phi": ("Phi", {"num_key_value_heads": 4}),
    "phi3": ("Phi3", {}),
    "mistral": ("Mistral", {"sliding_window": 7}),
    "mistral-wide": ("Mistral", {"sliding_window": 200}),
    "qwen3-moe": ("Qwen3Moe", {**EXPERTS, "head_dim": 8}),
    "deepseek-v3": ("DeepseekV3", PACKED["DeepseekV3"]),
    "gemma4": (
        "Gemma4Text",
        PACKED["Gemma4Text"],
    ),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 0]}),
    "phimoe": ("Phimoe", {"num_local_experts": 4}),
    "phi3-longrope": ("Phi3", LONGROPE),
    "gpt2": ("GPT2", _GPT2),
    "gpt-neox": ("GPTNeoX", {}),
}
UNPACKABLE: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("Mamba", {"state_size": 4}),
    "bloom": ("Bloom", {"n_layer": 2, "n_head": 4}),
    # Sinks take part in the softmax of every query.
    "gpt-oss": (
        "GptOss",
        {"num_local_experts": 4, "head_dim": 8, "sliding_window": 7, "layer_types": SLIDING, "rope_parameters": _ROPE},
    ),
    "llama4": (
        "Llama4Text",
        {
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "head_dim": 8,
            "intermediate_size_mlp": 64,
            "attention_chunk_size": 8,
            "layer_types": ["chunked_attention", "full_attention"],
        },
    ),
    "qwen3-next": (
        "Qwen3Next",
        {
            **EXPERTS,
            "num_hidden_layers": 4,
            "head_dim": 8,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "shared_expert_intermediate_size": 16,
        },
    ),
    # Calls its attention twice in a layer.
    "diffllama": ("DiffLlama", {}),
}


def config(family: str) -> transformers.PreTrainedConfig:
    """Configuration of a tiny model."""
    name, options = (FAMILIES | UNPACKABLE)[family]
    options = options if options is _GPT2 else SIZES | options
    made: transformers.PreTrainedConfig = getattr(transformers, f"{name}Config")(**options)
    return made


def model(family: str, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A tiny model with random weights, on the CPU in float32."""
    settings = config(family)
    for name, value in overrides.items():
        setattr(settings, name, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(settings)
        for parameter in made.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.25)
        for name, parameter in made.named_parameters():
            if name.endswith("sinks"):
                torch.nn.init.ones_(parameter)
    made.eval()
    return made


Batch: TypeAlias = tuple[list[list[int]], Tensor, Tensor, Tensor]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each family that can be packed."""
    return str(request.param)


@pytest.fixture(params=UNPACKABLE)
def unpackable(request: pytest.FixtureRequest) -> str:
    """Families whose tokens interact by other means than replaceable attention."""
    return str(request.param)


@pytest.fixture
def make_model() -> Callable[..., PreTrainedModel]:
    """The function `model` above."""
    return model


@pytest.fixture
def one_by_one() -> Callable[..., Tensor]:
    """The function `plain_logprobs` below."""
    return plain_logprobs


@pytest.fixture
def batch() -> Batch:
    """Prompt ids, group ids, completion ids and mask; unsorted groups, an unused prompt, empty and full completions."""
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in (5, 11, 4, 1, 5)]
    groups = torch.tensor([1, 0, 1, 0, 3, 4, 3, 1, 0, 4, 4])
    lengths = torch.tensor([6, 1, 0, 13, 2, 13, 1, 6, 13, 13, 5])
    mask = torch.arange(13) < lengths.unsqueeze(1)
    ids = torch.randint(3, VOCAB, mask.shape, generator=generator)
    return prompts, groups, ids.masked_fill(~mask, 0), mask


def plain_logprobs(
    model: PreTrainedModel,
    prompts: list[list[int]],
    groups: Tensor,
    ids: Tensor,
    mask: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Each row by itself through the unmodified model with eager attention: what every path must agree with."""
    own = model.config._attn_implementation
    model.set_attn_implementation("eager")
    rows = []
    for row, group in enumerate(groups.tolist()):
        completion = ids[row, mask[row]]
        if len(completion):
            sequence = torch.cat([torch.tensor(prompts[group]), completion]).unsqueeze(0)
            logits = model(input_ids=sequence, use_cache=False).logits[0, len(prompts[group]) - 1 : -1]
            rows.append((logits.float() / temperature).log_softmax(-1).gather(1, completion.unsqueeze(1)).squeeze(1))
    model.set_attn_implementation(own)
    return torch.cat(rows)
