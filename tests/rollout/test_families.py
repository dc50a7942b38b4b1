"""Decoding equals a plain forward pass of the same Hugging Face model, family by family, and greedy `generate`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_families import EXPERTS, LOGPROBS, PACKED, SLIDING, check_logprobs, keys, make_model, make_rows
from transformers import GenerationConfig, PreTrainedModel

from morl.policy.attention import ATTENTION
from morl.rollout.loop import Decoder, sample
from morl.rollout.packed import PackedDecoder
from morl.rollout.padded import PaddedDecoder
from morl.types import Sampling

STEPWISE = {"Qwen3Next": 3e-3}
"""Recurrences round otherwise step by step than many tokens at once: by 3e-4 here."""
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
