"""Adapters of every kind: what samples, what is trained and what is exported is one network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawing import sampled
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from morl.errors import ConfigError
from morl.policy.export import check_export
from morl.policy.load import load_model, load_policy, load_tokenizer, wrap_policy
from morl.policy.options import LoRA
from morl.policy.save import save_policy

LOGPROBS = 1e-4
KINDS = {
    "dora": LoRA(rank=4, dora=True),
    "rslora": LoRA(rank=4, rslora=True),
    "regex": LoRA(rank=4, target_modules=r".*layers\.0\..*_proj", exclude_modules=["k_proj"]),
    "modules": LoRA(rank=4, target_modules=["q_proj"], modules_to_save=["norm"]),
    "head": LoRA(rank=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "embeddings": LoRA(rank=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
    "dora-whole": LoRA(rank=4, dora=True, target_modules=["q_proj", "down_proj"], modules_to_save=["norm"]),
}


def trained(path: Path, lora: LoRA, **options):
    """A policy whose trainable weights have moved."""
    policy = load_policy(str(path), lora=lora, **options)
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("name", KINDS)
def test_samples_training_and_export_agree(name, checkpointing, tiny_model, tmp_path, batch, one_by_one):
    tokenizer = load_tokenizer(str(tiny_model))
    policy = trained(tiny_model, KINDS[name], gradient_checkpointing=checkpointing)
    drawn, now = sampled(policy, tokenizer)
    assert (drawn - now).abs().max().item() < LOGPROBS
    now.sum().backward()
    assert all(weight.grad is not None for weight in policy.parameters() if weight.requires_grad)

    def same(other):
        torch.testing.assert_close(other, policy(policy.make_plan(*batch)).logprobs_T, atol=LOGPROBS, rtol=0)

    check_export(load_model(str(tiny_model)), tokenizer, KINDS[name])
    save_policy(policy, tokenizer, tmp_path)
    same(one_by_one(AutoModelForCausalLM.from_pretrained(tmp_path), *batch))
    again = load_policy(str(tiny_model), lora=LoRA(adapter=str(tmp_path / "adapter")))
    same(again(again.make_plan(*batch)).logprobs_T)
    assert trainable(again) == trainable(policy)


def trainable(policy):
    return {name for name, weight in policy.named_parameters() if weight.requires_grad}


def test_the_options_are_those_of_peft(tiny_model):
    """Of DoRA and rsLoRA by their formulas: m (W + BA s) / |W + BA s| per output, s = alpha / sqrt(rank)."""
    lora = LoRA(rank=4, alpha=6.0, dora=True, rslora=True, target_modules=["q_proj"])
    policy = trained(tiny_model, lora)
    layer = policy.base_model.model.layers[0].self_attn.q_proj
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    direction = layer.base_layer.weight + 6.0 / 2 * B @ A
    size = layer.lora_magnitude_vector["default"].weight / direction.norm(dim=1)
    expected = x @ (size[:, None] * direction).T + layer.base_layer.bias
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_is_refused(tiny_model, make_model_folder, tmp_path):
    model = str(tiny_model)
    with pytest.raises(ConfigError, match="modules_to_save: the policy has no module 'heads'"):
        load_policy(model, lora=LoRA(rank=2, modules_to_save=["heads"]))
    with pytest.raises(ConfigError, match="there is no adapter in '/nowhere'"):
        LoRA(adapter="/nowhere")
    tokenizer = load_tokenizer(model)
    save_policy(trained(tiny_model, LoRA(rank=2)), tokenizer, tmp_path / "trained")
    adapter = str(tmp_path / "trained" / "adapter")
    with pytest.raises(ConfigError, match=r"policy.lora.rank has no effect beside policy.lora.adapter"):
        LoRA(rank=2, adapter=adapter)
    with pytest.raises(ConfigError, match=r"policy.lora.modules_to_save has no effect beside"):
        LoRA(modules_to_save=["norm"], adapter=adapter)
    other = make_model_folder(tmp_path / "other", text="ab", hidden_size=16)
    with pytest.raises(ConfigError, match=r"adapter .* does not fit the policy: .*size mismatch"):
        load_policy(str(other), lora=LoRA(adapter=adapter))
    config = Path(adapter) / "adapter_config.json"
    config.write_text(config.read_text().replace('"LORA"', '"IA3"'))
    with pytest.raises(ConfigError, match="is an adapter of the kind IA3; expected LORA"):
        LoRA(adapter=adapter)


def test_an_adapter_without_a_part_of_its_weights_is_refused(tiny_model, tmp_path):
    model = str(tiny_model)
    save_policy(trained(tiny_model, LoRA(rank=2)), load_tokenizer(model), tmp_path)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    weights.pop(next(iter(weights)))
    save_file(weights, file)
    with pytest.raises(ConfigError, match=r"adapter .* does not fit the policy: .*missing adapter keys"):
        load_policy(model, lora=LoRA(adapter=str(file.parent)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused(dtype, tiny_model):
    model = load_model(str(tiny_model))
    weight = model.model.layers[0].mlp.up_proj.weight.data.to(dtype)
    model.model.layers[0].mlp.up_proj.weight = torch.nn.Parameter(weight, requires_grad=False)
    with pytest.raises(ConfigError, match=r"are quantised \(model.layers.0.mlp.up_proj.weight: torch"):
        wrap_policy(model, lora=LoRA(rank=2))
