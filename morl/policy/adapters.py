"""Low-rank adapters around a model, by peft."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from morl.errors import ConfigError
from morl.policy.options import LoRA


def with_adapters(model: PreTrainedModel, lora: LoRA) -> nn.Module:
    """The model with adapters in its modules, new ones or those of a folder; its own weights are frozen.

    Raises:
        ConfigError: peft is not installed, no module has the name of a target, or an adapter is of another model.
    """
    try:
        from peft import LoraConfig, PeftModel, get_peft_model
    except ImportError as error:
        raise ConfigError("LoRA needs peft; install it with: pip install 'morl-llm[lora]'") from error
    options: dict[str, Any] = {
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": lora.target_modules,
        "exclude_modules": lora.exclude_modules,
        "use_dora": lora.dora,
        "use_rslora": lora.rslora,
        "modules_to_save": [*lora.modules_to_save] or None,
        "task_type": "CAUSAL_LM",
    }
    try:
        with warnings.catch_warnings():
            # Of adapters on one of two tied weights, which the export keeps apart.
            warnings.filterwarnings("ignore", ".*tie_word_embeddings.*")
            warnings.filterwarnings("error", ".*missing adapter keys.*")
            if lora.adapter is not None:
                return PeftModel.from_pretrained(model, lora.adapter, is_trainable=True)
            adapted: nn.Module = get_peft_model(model, LoraConfig(**options))
    except (ValueError, RuntimeError, UserWarning) as error:
        what = f"target_modules {lora.target_modules!r} do" if lora.adapter is None else f"adapter {lora.adapter} does"
        raise ConfigError(f"LoRA {what} not fit the policy: {_begin(error)}") from error
    for name in lora.modules_to_save:
        if not any(path.endswith(f"{name}.modules_to_save") for path, _ in adapted.named_modules()):
            raise ConfigError(f"LoRA modules_to_save: the policy has no module {name!r}")
    return adapted


def _begin(error: Exception) -> str:
    """The beginning of a message, which may name every tensor of a model."""
    return " ".join(" ".join(str(error).splitlines()[:2]).split())[:600]
