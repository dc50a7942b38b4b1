"""From a policy back to a folder that `AutoModelForCausalLM` and `AutoTokenizer` load."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from morl.policy.model import PolicyModel


def save_policy(
    policy: PolicyModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    state_dict: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the model with its tokenizer; the policy itself is left as it is.

    With LoRA, `folder` gets the merged model and `folder/adapter` the adapter alone.

    Args:
        policy: the policy.
        tokenizer: its tokenizer.
        folder: made if it does not exist.
        state_dict: full weights, named as in `policy.state_dict()`, where the policy's own are sharded.
    """
    weights = policy.state_dict() if state_dict is None else state_dict
    weights = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
    base = policy.base_model
    if policy.model is base:
        base.save_pretrained(folder, state_dict=weights)
    else:
        policy.model.save_pretrained(Path(folder) / "adapter", state_dict=weights)  # type: ignore[operator]
        _merged(policy, weights).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _merged(policy: PolicyModel, weights: Mapping[str, Tensor]) -> PreTrainedModel:
    """A second model with the adapters added to a copy of the weights."""
    from peft import get_peft_model

    base = policy.base_model
    (adapter_config,) = policy.model.peft_config.values()  # type: ignore[operator]
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(copy.deepcopy(base.config), dtype=base.dtype)
    adapted = get_peft_model(empty, adapter_config)
    copies = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
    adapted.load_state_dict(copies, assign=True)
    empty.tie_weights()  # the copies of a tied weight are two tensors, which merging would keep apart
    merged: PreTrainedModel = adapted.merge_and_unload()
    merged.generation_config = base.generation_config
    return merged
