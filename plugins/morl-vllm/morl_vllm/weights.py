"""From the policy being trained to the tensors of a checkpoint, which is what an engine can load.

vLLM loads what it is given and keeps what it had for the rest, so everything that is missing here, or named otherwise,
would silently stay as it was.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from morl.errors import RolloutError
from morl.policy.codes import dense_weight, is_quantised


@frozen(eq=False)
class Weight:
    """One tensor of the checkpoint.

    Attributes:
        name: as `save_pretrained` would write it; a tied tensor stands under each of its names.
        shape: of the whole tensor.
        read: gathers its shards, adds its adapter, and returns it; every rank of a sharded policy has to call it.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], Tensor]


_TRAINED_WHOLE = re.compile(r"\.modules_to_save\.[^.]+\.")
_FROZEN_TWIN = re.compile(r"\.original_module\.")
"""How peft names a module that is trained whole (`modules_to_save`), and the one in whose place it computes."""


def policy_weights(policy: Any) -> list[Weight]:
    """The present weights of a `morl.policy.PolicyModel`, LoRA adapters merged; the policy is left as it is.

    Nothing is computed or gathered before a tensor is read, so only one whole tensor need be in memory at a time.

    Raises:
        RolloutError: an adapter on an embedding that the model's head shares.
    """
    base = policy.base_model
    adapters = {} if policy.model is base else _adapters(base)
    codes = {name: weight for name, weight in base.named_parameters() if is_quantised(weight)}
    weights = []
    # Not named_parameters(), which leaves out the second name of a tied tensor.
    for stored, kept in base.state_dict().items():
        tensor = codes.get(stored, kept)  # a state dict has lost what the codes stand for
        name = _TRAINED_WHOLE.sub(".", stored)
        if _FROZEN_TWIN.search(stored):
            continue
        owner, _, last = name.rpartition(".base_layer.")
        if owner in adapters and last == "weight":
            weights.append(Weight(f"{owner}.weight", _shape(tensor), _merged(adapters[owner], tensor)))
        elif owner in adapters:
            weights.append(Weight(f"{owner}.{last}", _shape(tensor), _whole(tensor)))
        elif not any(name.startswith(f"{adapter}.") for adapter in adapters):
            weights.append(Weight(name, _shape(tensor), _whole(tensor)))
    return weights


def expected_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a whole checkpoint of a model with this Hugging Face config, which the engine was given."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def check_weights(weights: list[Weight], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses to send anything but a whole checkpoint.

    Raises:
        RolloutError: names of tensors that are missing, too many, or of another shape.
    """
    shapes = {weight.name: weight.shape for weight in weights}
    faults = {
        "missing": [name for name in expected if name not in shapes],
        "unknown": [name for name in shapes if name not in expected],
        "of another shape": [
            f"{name} {shapes[name]} for {shape}" for name, shape in expected.items() if shapes.get(name, shape) != shape
        ],
    }
    found = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"
        for kind, names in faults.items()
        if names
    ]
    if found:
        raise RolloutError(
            f"the policy's weights are not those of its config, with which the engine was started: {'; '.join(found)}."
            " Was the model changed after training began?"
        )


def read_all(weights: list[Weight]) -> Iterator[tuple[str, Tensor]]:
    """What the engine is sent, one tensor after the other."""
    for weight in weights:
        yield weight.name, weight.read()


def _adapters(base: nn.Module) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    adapters = {name: module for name, module in base.named_modules() if isinstance(module, LoraLayer)}
    if base.config.get_text_config().tie_word_embeddings:  # type: ignore[union-attr, operator]
        ends = {id(base.get_input_embeddings()), id(base.get_output_embeddings())}  # type: ignore[operator]
        whole = {name: module for name, module in base.named_modules() if isinstance(module, AuxiliaryTrainingWrapper)}
        for name, module in {**adapters, **whole}.items():
            if id(module) in ends:
                raise RolloutError(
                    f"the LoRA adapter on {name!r} cannot be merged for the engine, which computes embeddings and head"
                    " from one tensor: take it out of policy.lora.target_modules and modules_to_save"
                )
    return adapters


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.quant_state.shape if is_quantised(tensor) else tensor.shape)


@torch.no_grad()
def _gathered(tensor: Tensor) -> Tensor:
    if is_quantised(tensor):
        return dense_weight(tensor)
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()


def _whole(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: _gathered(tensor)


def _merged(layer: Any, tensor: Tensor) -> Callable[[], Tensor]:
    @torch.no_grad()
    def read() -> Tensor:
        whole = _gathered(tensor)
        for adapter in layer.active_adapters:
            if adapter in layer.lora_A or adapter in layer.lora_embedding_A:
                whole = whole + _gathered(layer.get_delta_weight(adapter)).to(whole.dtype)
                if layer.use_dora.get(adapter):  # the size of every row is learned apart (arXiv 2402.09353)
                    size = _gathered(layer.lora_magnitude_vector[adapter].weight).to(whole.dtype)
                    whole = whole * (size / whole.norm(dim=1))[:, None]
        return whole

    return read
