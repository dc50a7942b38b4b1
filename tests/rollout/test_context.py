"""How long prompt and completion may be together."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import Gemma3TextConfig, LlamaConfig, MambaConfig, Phi3Config

from morl.errors import ConfigError
from morl.rollout.context import check_context, context_limit, rope_limit

ROPE: dict[str, Any] = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
SIZES: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 97}


def longrope() -> Phi3Config:
    return Phi3Config(
        **SIZES,
        pad_token_id=0,
        max_position_embeddings=128,
        original_max_position_embeddings=16,
        rope_parameters=ROPE | {"factor": 8.0},
    )


def test_longrope_ends_where_its_factors_change() -> None:
    assert rope_limit(longrope()) == context_limit(longrope()) == 16
    check_context(longrope(), 6, 10)
    with pytest.raises(
        ConfigError, match=r"the model has 16 whose rotary embeddings do not change .* max_tokens to 10"
    ):
        check_context(longrope(), 6, 11)


def test_dynamic_ntk_ends_where_its_base_changes() -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    config = LlamaConfig(**SIZES, max_position_embeddings=16, rope_parameters=rope)
    assert rope_limit(config) == context_limit(config) == 16


def test_layer_types_may_have_embeddings_of_their_own() -> None:
    default = {"rope_type": "default", "rope_theta": 1e4}
    long = ROPE | {"factor": 8.0, "original_max_position_embeddings": 16}
    config = Gemma3TextConfig(**SIZES, max_position_embeddings=128)
    config.rope_parameters = {"sliding_attention": default, "full_attention": long}
    assert rope_limit(config) == context_limit(config) == 16


@pytest.mark.parametrize("rope", ["default", "linear", "llama3", "yarn"])
def test_other_embeddings_have_the_limit_of_the_model(rope: str) -> None:
    config = LlamaConfig(**SIZES, max_position_embeddings=128)
    config.rope_parameters = {"rope_type": rope, "rope_theta": 1e4, "original_max_position_embeddings": 16}
    assert rope_limit(config) is None
    assert context_limit(config) == 128


def test_a_model_without_positions_has_no_limit() -> None:
    assert context_limit(MambaConfig()) is None
