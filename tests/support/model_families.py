"""Small models of many families with random weights, and what a plain forward pass says of samples from them."""

from __future__ import annotations

import random
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from morl.rollout.loop import Drawn

LOGPROBS = 1e-4
"""Of float32 log-probabilities by another way through the model; see "Limits for rounding" in CONTRIBUTING.md."""

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SLIDING = ["sliding_attention", "full_attention"]
PACKED: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {"tie_word_embeddings": True},
    "Qwen3": {"head_dim": 16},
    "Gemma": {"head_dim": 16, "num_key_value_heads": 1},
    # One sliding and one full layer; the window is shorter than most prompts and than most completions.
    "Gemma2": {"head_dim": 8, "sliding_window": 7, "attn_logit_softcapping": 2.0},
    "Mistral": {"sliding_window": 5},
    "Phi": {"num_key_value_heads": 4},
    "GPT2": {"n_positions": 256},
    "Qwen3Moe": {**EXPERTS, "head_dim": 16},
    "DeepseekV3": {
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "first_k_dense_replace": 1,
        "num_key_value_heads": 4,
    },
    "Gemma3Text": {"head_dim": 8, "sliding_window": 7, "layer_types": SLIDING},
    "Gemma4Text": {
        "head_dim": 8,
        "global_head_dim": 16,
        "sliding_window": 7,
        "layer_types": SLIDING,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 97,
        "num_kv_shared_layers": 0,
    },
    "SmolLM3": {"no_rope_layers": [1, 0]},
    "Phimoe": {"num_local_experts": 4},
    # The longest sequence of the test stays within the limit of `morl.rollout.context`.
    "Phi3": {
        "original_max_position_embeddings": 128,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.5] * 4,
            "long_factor": [4.0] * 4,
            "factor": 2.0,
        },
    },
}


def make_model(family: str, options: dict[str, Any]) -> PreTrainedModel:
    config = getattr(transformers, f"{family}Config")(**SIZES | options)
    from_config: Any = transformers.AutoModelForCausalLM.from_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = from_config(config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:  # large enough that attention shows in the logits
                torch.nn.init.normal_(parameter, std=0.25)
    return model.requires_grad_(False)


def make_rows(lengths: list[int], n: int) -> list[tuple[int, ...]]:
    source = random.Random(0)
    return [ids for length in lengths for ids in [tuple(source.choices(range(10, 97), k=length))] * n]


def check_logprobs(
    model: PreTrainedModel, rows: list[tuple[int, ...]], drawn: Drawn, attention: str | None, atol: float = LOGPROBS
) -> None:
    if attention:
        model.set_attn_implementation(attention)
    for prompt, ids, mask, logprobs in zip(rows, drawn.ids_BT, drawn.mask_BT, drawn.logprobs_BT, strict=True):
        ids = ids[mask]
        logits = model(input_ids=torch.cat([torch.tensor(prompt), ids])[None], use_cache=False).logits[0]
        expected = logits[len(prompt) - 1 : -1].log_softmax(-1).gather(1, ids[:, None])[:, 0]
        torch.testing.assert_close(logprobs[mask], expected, atol=atol, rtol=0)


def keys(rows: list[tuple[int, ...]]) -> list[tuple[int, int]]:
    return [(7, row) for row in range(len(rows))]
