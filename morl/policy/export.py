"""Whether what is trained can be exported, tried before the first step rather than after the last."""

from __future__ import annotations

import tempfile

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from morl.errors import ConfigError, refusal_of
from morl.policy.adapters import with_adapters
from morl.policy.model import PolicyModel
from morl.policy.options import LoRA, Quantisation
from morl.policy.quantised import quantise
from morl.policy.save import save_policy
from morl.policy.small import short_copy


def brings_code(model: PreTrainedModel) -> bool:
    """Whether the model's class came with its files, which was allowed when it was loaded."""
    return type(model).__module__.startswith("transformers_modules")


LOGITS = 1e-4
"""Relative to the largest logit; merging adapters adds in another order."""


def check_export(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lora: LoRA | None,
    quantisation: Quantisation | None = None,
) -> None:
    """Saves a copy of the model, short if it is a large one, with adapters that change something, and loads it again.

    Args:
        model: as loaded.
        tokenizer: its tokenizer.
        lora: the adapters that it will get.
        quantisation: of the weights under them.

    Raises:
        ConfigError: it cannot be written in a form that computes the same.
    """
    small = short_copy(model, layers=1)
    if small is None:  # neither small nor of a kind that stands being shortened
        return
    ids = torch.arange(1, 9, device=small.device)[None] % model.config.get_text_config().vocab_size
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # the global random state is not ours to advance
        if lora is not None and quantisation is not None:
            quantise(small, quantisation, lora)
        policy = PolicyModel(small if lora is None else with_adapters(small, lora), packed=False)
        for parameter in policy.parameters():
            if lora is not None and parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, dtype=parameter.dtype))
        # As it samples: in training mode the dropout of adapters would differ from pass to pass.
        expected = policy.eval().model(ids).logits.cpu()
        try:
            with tempfile.TemporaryDirectory(prefix="morl-export-") as folder:
                save_policy(policy, tokenizer, folder)
                again = AutoModelForCausalLM.from_pretrained(
                    folder,
                    dtype=torch.float32,
                    attn_implementation=policy.own_attention,
                    trust_remote_code=brings_code(model),
                )
                got = again(ids.cpu()).logits
        except Exception as error:
            if (refusal := refusal_of(error)) is not None:
                raise ConfigError(
                    f"the folder for temporary files, {tempfile.gettempdir()}, took no copy of the policy: {refusal};"
                    " make room there, or name another one in the environment variable TMPDIR"
                ) from error
            raise ConfigError(
                f"the trained policy could not be exported: {type(error).__name__}: {error}; mend its folder (config,"
                " generation config, tokenizer), or change policy.lora.target_modules"
            ) from error
    difference = float((got - expected).abs().max() / expected.abs().max())
    if not difference <= LOGITS:
        raise ConfigError(
            f"the exported policy would not be the trained one: logits of a copy differ by {difference:.1e} of their"
            f" size (tolerance {LOGITS:g}) when it was saved and loaded; change policy.lora.target_modules"
        )
