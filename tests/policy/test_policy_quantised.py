"""Adapters over weights of four bits: what they stand for, and that one network samples, learns and is exported."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from drawing import sampled
from scipy.stats import norm
from torch import nn
from transformers import AutoModelForCausalLM

from morl.errors import ConfigError
from morl.policy.codes import dense_weight, is_quantised
from morl.policy.export import check_export
from morl.policy.load import load_model, load_policy, load_tokenizer
from morl.policy.options import LoRA, Quantisation
from morl.policy.quantised import quantise
from morl.policy.save import save_policy
from morl.rollout.replica import build_replica, copy_weights, whole_weights

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install 'morl-llm[quantised]'")

LOGPROBS = 1e-4
KINDS = {
    "nf4": (Quantisation(), LoRA(rank=4)),
    "double": (Quantisation(double=True), LoRA(rank=4, target_modules=["q_proj"])),
    "fp4-dora-whole": (Quantisation(type="fp4"), LoRA(rank=4, dora=True, modules_to_save=["norm", "o_proj"])),
}


@pytest.fixture(scope="module")
def wide_model(make_model_folder, tmp_path_factory):
    """Of 64 inputs and more, which are whole blocks."""
    return make_model_folder(tmp_path_factory.mktemp("wide") / "model", hidden_size=64, intermediate_size=128)


def trained(path, kind, **options):
    """A policy whose trainable weights have moved."""
    quantisation, lora = KINDS[kind]
    policy = load_policy(str(path), lora=lora, quantisation=quantisation, **options)
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy


def nf4_values():
    """The sixteen values of the paper's appendix E: quantiles of the normal distribution, with 0 and 1 among them."""
    offset = (1 - 1 / 32 + 1 - 1 / 30) / 2
    positive = norm.ppf(torch.linspace(offset, 0.5, 9)[:-1])
    negative = -norm.ppf(torch.linspace(offset, 0.5, 8)[:-1])
    values = torch.tensor(sorted([*positive, 0.0, *negative]))
    return (values / values.max()).float()


def test_nf4_stands_for_the_nearest_of_the_papers_values_times_the_largest_weight_of_64(wide_model):
    model = load_model(str(wide_model))
    weight = model.model.layers[0].mlp.up_proj.weight.detach().clone()
    quantise(model, Quantisation(), LoRA())
    blocks = weight.reshape(-1, 64)
    scale = blocks.abs().amax(1, keepdim=True)
    nearest = nf4_values()[(blocks[..., None] / scale[..., None] - nf4_values()).abs().argmin(-1)]
    found = dense_weight(model.model.layers[0].mlp.up_proj.weight)
    # The library's values have rounding of their own, 1e-4 at one of them.
    torch.testing.assert_close(found, (nearest * scale).reshape(weight.shape), atol=1e-4, rtol=1e-3)
    assert 0.01 < (found - weight).norm() / weight.norm() < 0.2, "it is not the weight itself"


@pytest.mark.parametrize("inputs", [32, 64, 96, 128, 200])
def test_a_weight_is_near_what_it_stands_for_or_stays_dense(inputs, make_model_folder, tmp_path):
    """Some widths that are no whole blocks are read with the scales of others by bitsandbytes on a CPU."""
    model = load_model(str(make_model_folder(tmp_path / "model", hidden_size=64, intermediate_size=inputs)))
    layer = model.model.layers[0].mlp.down_proj
    layer.weight.data *= torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(0)) ** 3
    weight = layer.weight.detach().clone()
    quantise(model, Quantisation(), LoRA())
    layer = model.model.layers[0].mlp.down_proj
    assert is_quantised(layer.weight) == (inputs % 64 == 0)
    found = dense_weight(layer.weight) if is_quantised(layer.weight) else layer.weight
    assert (found - weight).norm() / weight.norm() < 0.15, "0.1 is seen, and 0.4 where scales are of other blocks"


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_training_and_export_agree(kind, checkpointing, wide_model, tmp_path, batch, one_by_one):
    tokenizer = load_tokenizer(str(wide_model))
    policy = trained(wide_model, kind, gradient_checkpointing=checkpointing)
    drawn, now = sampled(policy, tokenizer)
    assert (drawn - now).abs().max().item() < LOGPROBS

    now.sum().backward()
    assert all(weight.grad is not None for weight in policy.parameters() if weight.requires_grad)
    check_export(load_model(str(wide_model)), tokenizer, KINDS[kind][1], KINDS[kind][0])
    save_policy(policy, tokenizer, tmp_path)
    merged = one_by_one(AutoModelForCausalLM.from_pretrained(tmp_path), *batch)
    torch.testing.assert_close(merged, policy(policy.make_plan(*batch)).logprobs_T, atol=LOGPROBS, rtol=0)
    dense = load_policy(str(wide_model), lora=KINDS[kind][1])
    far = (dense(dense.make_plan(*batch)).logprobs_T - merged).abs().max()
    assert far > 100 * LOGPROBS, "and the quantised network is another one"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_is_that_of_the_dense_matrix(dtype, wide_model):
    """Of the input, through plain PyTorch; under autocast, too."""
    model = load_model(str(wide_model), dtype=dtype)
    quantise(model, Quantisation(), LoRA())
    layer = model.model.layers[0].self_attn.q_proj
    plain = nn.Linear(64, 64)
    plain.weight.data, plain.bias.data = dense_weight(layer.weight), layer.bias.data
    for autocast in (False, True):
        gradients = []
        for each in (layer, plain):
            x = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(0)).to(plain.weight.dtype)
            x.requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                (each(x).float() ** 2).sum().backward()
            gradients.append(x.grad)
        torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-5 if dtype == "float32" and not autocast else 1e-2)


def test_a_copy_to_sample_from_is_the_same_network(wide_model, batch):
    policy = trained(wide_model, "nf4")
    expected = policy(policy.make_plan(*batch)).logprobs_T
    replica = copy.deepcopy(policy)
    torch.testing.assert_close(replica(replica.make_plan(*batch)).logprobs_T, expected, atol=0, rtol=0)
    for source in (policy.model, whole_weights(policy.model)):
        dense = build_replica(policy.model, packed=True)
        copy_weights(source, dense)
        ids = torch.arange(1, 9)[None]
        dense.set_attn_implementation("eager")
        policy.base_model.set_attn_implementation("eager")
        torch.testing.assert_close(dense(ids).logits, policy.model(ids).logits, atol=1e-5, rtol=0)


def test_the_head_and_what_is_trained_whole_stay_dense(wide_model):
    policy = trained(wide_model, "fp4-dora-whole")
    codes = {name for name, weight in policy.named_parameters() if is_quantised(weight)}
    assert {name.split(".")[-3] for name in codes} == {
        "q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert all(policy.get_parameter(name).dtype == torch.uint8 for name in codes)


def test_what_has_no_effect_or_is_not_there_is_refused(wide_model, monkeypatch):
    every = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    with pytest.raises(ConfigError, match=r"policy.quantisation has no effect: Qwen2ForCausalLM has no linear layer"):
        quantise(load_model(str(wide_model)), Quantisation(), LoRA(modules_to_save=every))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes; install it with: pip install 'morl-llm\[quantised\]'"):
        Quantisation()
