"""From a model folder or hub name to a policy and its tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from morl.errors import ConfigError, DataError
from morl.policy.adapters import with_adapters
from morl.policy.folder import check_model
from morl.policy.model import PolicyModel
from morl.policy.options import PLAIN, Loading, LoRA, Quantisation
from morl.policy.probe import check_causal, check_noise, default_attention_fault, packing_fault, watched_weights
from morl.policy.quantised import quantise
from morl.policy.save import save_policy
from morl.policy.small import float32_copy

__all__ = [
    "Attention",
    "check_model",
    "load_model",
    "load_policy",
    "load_tokenizer",
    "ready_tokenizer",
    "save_policy",
    "wrap_policy",
]

_log = logging.getLogger(__name__)

Attention: TypeAlias = Literal["auto", "packed", "padded"]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_tokenizer(path: str, loading: Loading = PLAIN) -> PreTrainedTokenizerBase:
    """The tokenizer of a model; one without padding token pads with its end-of-sequence token.

    Raises:
        DataError: no tokenizer there, or one without an end-of-sequence token, so that completions could not end.
    """
    check_model(path)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, **loading.of_files(path))
    except Exception as error:  # damaged files make transformers raise anything
        raise DataError(f"no tokenizer could be loaded from {path!r}: {type(error).__name__}: {error}") from error
    return ready_tokenizer(tokenizer, path)


def ready_tokenizer(tokenizer: PreTrainedTokenizerBase, path: str) -> PreTrainedTokenizerBase:
    """The tokenizer, which then has a token to pad with.

    Raises:
        DataError: it has no end-of-sequence token, so that completions could not end.
    """
    if tokenizer.eos_token_id is None:
        raise DataError(
            f"the tokenizer of {path!r} has no end-of-sequence token, so completions could not end;"
            " set eos_token in its tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(
    path: str,
    *,
    dtype: str = "float32",
    attention: Attention = "auto",
    lora: LoRA | None = None,
    quantisation: Quantisation | None = None,
    gradient_checkpointing: bool = False,
    loading: Loading = PLAIN,
) -> PolicyModel:
    """A trainable policy, on the CPU, which computes in evaluation mode (see `morl.policy.modes`).

    Args:
        path: model folder or hub name.
        dtype: of the weights, `float32` or `bfloat16`.
        attention: `packed` computes each prompt once and no padding, `padded` uses the model's own attention; `auto`
            packs where a trial at load shows that both agree, else warns and pads.
        lora: train low-rank adapters only.
        quantisation: of the weights under the adapters.
        gradient_checkpointing: recompute each layer in backward instead of keeping its activations.
        loading: further arguments of `from_pretrained`.

    Raises:
        DataError: a model that cannot be loaded.
        ConfigError: an unknown dtype or attention, packing asked of a model that cannot, LoRA without peft installed or
            with target modules that do not exist.
    """
    model = load_model(path, dtype=dtype, loading=loading)
    return wrap_policy(
        model,
        attention=attention,
        lora=lora,
        quantisation=quantisation,
        gradient_checkpointing=gradient_checkpointing,
    )


def load_model(
    path: str,
    *,
    dtype: str = "float32",
    loading: Loading = PLAIN,
) -> PreTrainedModel:
    """The causal LM itself, as `transformers` loads it.

    Raises:
        DataError: a model that cannot be loaded, or a checkpoint that lacks some of its weights.
        ConfigError: an unknown dtype.
    """
    if dtype not in _DTYPES:
        raise ConfigError(f"unknown dtype {dtype!r} for the policy; expected one of {', '.join(_DTYPES)}")
    check_model(path)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=_DTYPES[dtype], output_loading_info=True, **loading.of_model(path)
        )
    except Exception as error:  # damaged files make transformers and safetensors raise anything
        what, unknown, _ = str(error).partition(" for this kind of AutoModel")  # a list of all kinds follows
        hint = "; encoder-decoders and models of images that it has no text model of cannot be a policy" * bool(unknown)
        raise DataError(
            f"no causal language model could be loaded from {path!r}: {type(error).__name__}: {what}{hint}"
        ) from error
    model: PreTrainedModel = loaded[0]
    _check_weights(path, type(model).__name__, loaded[1])
    return model


def _check_weights(path: str, kind: str, report: Mapping[str, Any]) -> None:
    """Refuses a checkpoint that lacks weights, which transformers would draw at random; warns of those left out."""
    if missing := report["missing_keys"]:
        raise DataError(
            f"the weights at {path!r} are not those of a whole {kind}: {_some(missing)} are missing and would be drawn"
            " at random; a base model, a classifier or the checkpoint of another architecture cannot be a policy:"
            " save the causal language model (AutoModelForCausalLM) with save_pretrained"
        )
    if unused := report["unexpected_keys"]:
        _log.warning(
            "%s does not use all weights at %r, and its export will be without them: %s", kind, path, _some(unused)
        )


def _some(names: Collection[str]) -> str:
    """The first three of them, and how many there are."""
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first}, ... ({len(names)} in all)"


def wrap_policy(
    model: PreTrainedModel,
    *,
    attention: Attention = "auto",
    lora: LoRA | None = None,
    quantisation: Quantisation | None = None,
    gradient_checkpointing: bool = False,
) -> PolicyModel:
    """A trainable policy around a causal LM that is loaded already, and is changed in place; see `load_policy`.

    Raises:
        ConfigError: as `load_policy`.
    """
    if attention not in ("auto", "packed", "padded"):
        raise ConfigError(f"unknown attention {attention!r}; expected auto, packed or padded")
    _check_dense(model)
    with watched_weights(model):
        policy = _tried(model, attention, gradient_checkpointing)
    if lora is None:
        return policy
    if quantisation is not None:  # after the trials, which compare dense copies
        quantise(model, quantisation, lora)
    model.set_attn_implementation(policy.own_attention)
    return PolicyModel(with_adapters(model, lora), policy.packed)


def _tried(model: PreTrainedModel, attention: Attention, gradient_checkpointing: bool) -> PolicyModel:
    """The policy without adapters, after its trials."""
    trial = float32_copy(model)
    check_causal(trial)
    if (found := default_attention_fault(trial)) is not None:
        _log.warning("the policy computes its attention by the model's own code, which is slower: %s", found)
        for either in (model, trial):
            either.set_attn_implementation("eager")
    packed = _packs(trial, attention)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    policy = PolicyModel(model, packed)
    check_noise(policy)
    return policy


def _check_dense(model: PreTrainedModel) -> None:
    """Refuses a model that comes quantised: its trials, and the export, need dense weights to begin with."""
    for name, weight in model.named_parameters():
        if not weight.is_floating_point() or weight.element_size() < 2 or type(weight.data) is not torch.Tensor:
            kind = type(weight.data).__name__ if type(weight.data) is not torch.Tensor else str(weight.dtype)
            raise ConfigError(
                f"the weights of the policy are quantised ({name}: {kind}), which morl cannot train on as they"
                " come; give the model in float32 or bfloat16, and for 4-bit weights under adapters set"
                " policy.quantisation"
            )


def _packs(model: PreTrainedModel, attention: Attention) -> bool:
    if attention == "padded":
        return False
    fault = packing_fault(model)
    if fault is not None and attention == "packed":
        raise ConfigError(f"the policy cannot use attention 'packed': {fault}; use 'auto' or 'padded'")
    if fault is not None:
        _log.warning("completions are padded and prompts repeated in training, which is slower: %s", fault)
    return fault is None
