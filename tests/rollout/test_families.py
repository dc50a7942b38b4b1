"""Decoding equals a plain forward pass of the same Hugging Face model, family by family, and greedy `generate`."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import transformers
from transformers import GenerationConfig, PreTrainedModel

from morl.policy.attention import ATTENTION
from morl.rollout.loop import Decoder, Drawn, sample
from morl.rollout.packed import PackedDecoder
from morl.rollout.padded import PaddedDecoder
from morl.types import Sampling

LOGPROBS = 1e-4
"""Of float32 log-probabilities by another way through the model; see "Limits for rounding" in CONTRIBUTING.md."""
STEPWISE = {"Qwen3Next": 3e-3}
"""Recurrences round otherwise step by step than many tokens at once: by 3e-4 here."""

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
PADDED: dict[str, dict[str, Any]] = {
    "Mamba": {"state_size": 4},
    "Bloom": {},
    "Qwen2": {},
    "Mistral": {"sliding_window": 5},
    "GptOss": {
        "num_local_experts": 4,
        "head_dim": 8,
        "sliding_window": 7,
        "layer_types": SLIDING,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "Llama4Text": {
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "head_dim": 8,
        "intermediate_size_mlp": 64,
        "attention_chunk_size": 8,
        "layer_types": ["chunked_attention", "full_attention"],
    },
    "Qwen3Next": {
        **EXPERTS,
        "num_hidden_layers": 4,
        "head_dim": 8,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "shared_expert_intermediate_size": 16,
    },
}
ENDS = frozenset({2, 5, 6, 7, 8, 9})


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


@pytest.mark.parametrize("family", PACKED)
def test_packed_logprobs_are_those_of_a_forward_pass(family: str) -> None:
    model = make_model(family, PACKED[family])
    model.set_attn_implementation(ATTENTION)
    # Equal and unequal lengths, a prompt given twice, one token; two prefill calls; the cache grows past 64 columns.
    rows = make_rows([9, 1, 30, 9, 10], 4)
    rows += rows[:2]
    sampling = Sampling(max_tokens=80)
    # As many tokens end a completion as let rows leave at many steps, and some stay until the cache has grown.
    drawn = sample(PackedDecoder(model, rows, 80, 24), keys(rows), sampling, frozenset({2, 5, 6}))
    lengths = drawn.mask_BT.sum(1).tolist()
    assert len(set(lengths)) > 5
    assert max(lengths) > 64, "no row is long enough for the cache to grow"
    check_logprobs(model, rows, drawn, "eager")


@pytest.mark.parametrize("family", PADDED)
def test_padded_logprobs_are_those_of_a_forward_pass(family: str) -> None:
    model = make_model(family, PADDED[family])
    rows = make_rows([9, 1, 30, 9, 10], 2)
    drawn = sample(PaddedDecoder(model, rows), keys(rows), Sampling(max_tokens=40), ENDS)
    assert len(set(drawn.mask_BT.sum(1).tolist())) > 3
    check_logprobs(model, rows, drawn, None, STEPWISE.get(family, LOGPROBS))


@pytest.mark.parametrize("family", [*PACKED, "Mamba"])
def test_greedy_tokens_are_those_of_generate(family: str) -> None:
    model: Any = make_model(family, PACKED.get(family, PADDED.get(family, {})))
    rows = make_rows([9, 1, 14], 1)
    decoder: Decoder = PaddedDecoder(model, rows)
    if family in PACKED:
        model.set_attn_implementation(ATTENTION)
        decoder = PackedDecoder(model, rows, 24, 1024)
    drawn = sample(decoder, keys(rows), Sampling(max_tokens=24, temperature=0.0), ENDS)
    if family in PACKED:
        model.set_attn_implementation("sdpa")
    config: Any = GenerationConfig  # transformers leaves it untyped
    config = config(max_new_tokens=24, eos_token_id=sorted(ENDS), pad_token_id=0, do_sample=False)
    for prompt, ids, mask in zip(rows, drawn.ids_BT, drawn.mask_BT, strict=True):
        expected = model.generate(torch.tensor([prompt]), generation_config=config)[0, len(prompt) :]
        assert ids[mask].tolist() == expected.tolist()


class Forgetful(torch.nn.Module):
    """A model that returns no cache, as some old ones do."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def prepare_inputs_for_generation(
        self, ids: torch.Tensor, is_first_iteration: bool, **inputs: Any
    ) -> dict[str, Any]:
        return {"input_ids": ids, **inputs}

    def forward(self, *, position_ids: torch.Tensor, **inputs: Any) -> Any:
        return self.model(**inputs | {"position_ids": position_ids, "use_cache": False})


def test_padded_decoder_reads_again_where_there_is_no_cache() -> None:
    model = make_model("Qwen2", {})
    rows = make_rows([4, 9], 3)
    drawn = sample(PaddedDecoder(Forgetful(model), rows), keys(rows), Sampling(max_tokens=12), ENDS)
    check_logprobs(model, rows, drawn, None)
