"""Low-rank adapters around a model, by peft."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from morl.errors import ConfigError
from morl.policy.options import LoRA


def with_adapters(model: PreTrainedModel, lora: LoRA) -> nn.Module:
    """The model with new adapters in its modules; its own weights are frozen.

    Raises:
        ConfigError: peft is not installed, or no module has the name of a target.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ConfigError("LoRA needs peft; install it with: pip install 'morl-llm[lora]'") from error
    options: dict[str, Any] = {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": lora.target_modules,
        "task_type": "CAUSAL_LM",
    }
    try:
        with warnings.catch_warnings():
            # Of adapters on one of two tied weights, which the export keeps apart.
            warnings.filterwarnings("ignore", ".*tie_word_embeddings.*")
            adapted: nn.Module = get_peft_model(model, LoraConfig(**options))
    except ValueError as error:
        raise ConfigError(f"LoRA target_modules {lora.target_modules!r} do not fit the policy: {error}") from error
    return adapted
