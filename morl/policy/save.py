"""From a policy back to a folder that `AutoModelForCausalLM` and `AutoTokenizer` load."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from morl.policy.codes import dense_weights
from morl.policy.model import PolicyModel, class_of


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
    weights = {name.removeprefix("model."): tensor for name, tensor in _tied(policy, weights).items()}
    base = policy.base_model
    if policy.model is base:
        _save_model(base, Path(folder), weights)
    else:
        policy.model.save_pretrained(Path(folder) / "adapter", state_dict=weights)  # type: ignore[operator]
        _save_model(_merged(policy, dense_weights(policy.model, weights)), Path(folder), None)
    tokenizer.save_pretrained(folder)


def save_adapter(policy: PolicyModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write the LoRA adapter alone, as peft loads it, with the tokenizer."""
    policy.model.save_pretrained(Path(folder))  # type: ignore[operator]
    tokenizer.save_pretrained(folder)


def _save_model(model: PreTrainedModel, folder: Path, weights: dict[str, Tensor] | None) -> None:
    """Saves the model with the generation config as it was loaded.

    Many folders hold settings that contradict each other, such as a temperature without `do_sample`; transformers reads
    them, but refuses to write them.  Between ranks that know of each other it would write on the first alone, where
    each of them may have a folder of its own: which ranks write is the caller's to say.
    """
    own, here = model.generation_config, vars(model)
    if own is not None:
        model.generation_config = GenerationConfig()
    here["should_save_on_this_rank"] = lambda is_main_process: True
    try:
        model.save_pretrained(folder, state_dict=weights)
    finally:
        model.generation_config = own
        del here["should_save_on_this_rank"]
    if own is not None:
        own.to_json_file(folder / "generation_config.json", keys_to_pop=["compile_config"])


def _tied(policy: PolicyModel, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights with those that are one parameter of the policy as one tensor, which is then written once.

    Gathered shards are a tensor of each name.
    """
    first: dict[int, str] = {}
    for name, parameter in policy.named_parameters(remove_duplicate=False):
        first.setdefault(id(parameter), name)
    names = {name: first[id(parameter)] for name, parameter in policy.named_parameters(remove_duplicate=False)}
    return {name: weights[names.get(name, name)] for name in weights}


def _merged(policy: PolicyModel, weights: Mapping[str, Tensor]) -> PreTrainedModel:
    """A second model with the adapters added to a copy of the weights.

    Where an adapter changes one of two tied weights, the merged model has them apart.
    """
    from peft import get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    base = policy.base_model
    (adapter_config,) = policy.model.peft_config.values()  # type: ignore[operator]
    config = copy.deepcopy(base.config)
    ends = (base.get_input_embeddings(), base.get_output_embeddings())
    untied = any(isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper) for module in ends)
    if untied:
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    with torch.device("meta"):
        empty = class_of(base)._from_config(config, dtype=base.dtype)
    adapted = get_peft_model(empty, adapter_config)
    copies = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
    adapted.load_state_dict(copies, assign=True)
    if not untied:
        empty.tie_weights()  # the copies of a tied weight are two tensors, which merging would keep apart
    merged: PreTrainedModel = adapted.merge_and_unload()
    merged.generation_config = base.generation_config
    return merged
