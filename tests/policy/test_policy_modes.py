"""The policy computes the same in every pass, whatever noise its model was configured with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from model_families import LOGPROBS, SIZES
from torch import Tensor, nn
from transformers import PreTrainedModel

from morl.errors import ConfigError
from morl.policy.load import wrap_policy
from morl.policy.options import LoRA

NOISY: dict[str, dict[str, Any]] = {
    "Mixtral": {"router_jitter_noise": 0.3, "num_local_experts": 4},
    "Phimoe": {"router_jitter_noise": 0.3, "num_local_experts": 4, "hidden_dropout": 0.3},
    "Falcon": {"hidden_dropout": 0.3, "attention_dropout": 0.3},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32, "layerdrop": 0.5, "dropout": 0.3, "activation_function": "relu"},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "embd_pdrop": 0.3, "attn_pdrop": 0.3, "resid_pdrop": 0.3},
    "GPTNeoX": {"hidden_dropout": 0.3, "attention_dropout": 0.3},
}
Batch = tuple[list[list[int]], Tensor, Tensor, Tensor]
OneByOne = Callable[..., Tensor]


def noisy(family: str) -> PreTrainedModel:
    sizes = {key: SIZES[key] for key in ("vocab_size", "bos_token_id", "eos_token_id")} if family == "GPT2" else SIZES
    config = getattr(transformers, f"{family}Config")(**sizes | NOISY[family])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.25)
    model.eval()
    return model


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointed"])
@pytest.mark.parametrize("family", NOISY)
def test_training_passes_are_those_of_the_model_without_noise(
    family: str, checkpointing: bool, batch: Batch, one_by_one: OneByOne
) -> None:
    expected = one_by_one(noisy(family), *batch)
    policy = wrap_policy(noisy(family), gradient_checkpointing=checkpointing)
    policy.eval()
    policy.train()
    for _ in range(2):
        logprobs = policy(policy.make_plan(*batch)).logprobs_T
        torch.testing.assert_close(logprobs, expected, atol=LOGPROBS, rtol=0)
        logprobs.sum().backward()


def test_checkpointed_layers_keep_their_flag_outside_of_their_forward(batch: Batch) -> None:
    policy = wrap_policy(noisy("GPTNeoX"), gradient_checkpointing=True)
    flags = []
    layer: Any = policy.base_model.get_submodule("gpt_neox.layers.0")
    layer.attention.register_forward_hook(lambda *_: flags.append(layer.training))
    policy(policy.make_plan(*batch)).logprobs_T.sum().backward()
    assert layer.training
    assert flags == [False, False], "once, and once more when activations are recomputed"
    policy.eval()
    policy(policy.make_plan(*batch))
    assert not layer.training


def test_dropout_of_adapters_stays(batch: Batch) -> None:
    policy = wrap_policy(noisy("GPTNeoX"), lora=LoRA(dropout=0.5, target_modules=["query_key_value"]))
    assert {type(m).__name__ for m in policy.model.modules() if m.training} >= {"Dropout"}
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            nn.init.ones_(parameter)
    first, second = (policy(policy.make_plan(*batch)).logprobs_T for _ in range(2))
    assert (first - second).abs().max() > 100 * LOGPROBS
    policy.eval()
    assert torch.equal(*(policy(policy.make_plan(*batch)).logprobs_T for _ in range(2)))


def test_noise_that_no_mode_switches_off_is_refused() -> None:
    model = noisy("GPTNeoX")
    model.get_submodule("gpt_neox.final_layer_norm").register_forward_hook(
        lambda module, inputs, output: output + 0.1 * torch.randn_like(output)
    )
    with pytest.raises(ConfigError, match="draws noise while it computes: two passes over the same tokens differ by"):
        wrap_policy(model, attention="padded")
