"""The loss that balances a mixture of experts is the model's own, and reaches its routers."""

from __future__ import annotations

import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3MoeConfig

from morl import train
from morl.errors import ConfigError
from morl.policy.load import load_policy


@pytest.fixture(scope="module")
def experts(tiny_model, tmp_path_factory):
    """A tiny Qwen3-MoE with the tokenizer of the tiny model."""
    folder = tmp_path_factory.mktemp("experts") / "model"
    shutil.copytree(tiny_model, folder)
    dense = AutoConfig.from_pretrained(tiny_model)
    config = Qwen3MoeConfig(
        vocab_size=dense.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_experts=4,
        num_experts_per_tok=2,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        eos_token_id=dense.eos_token_id,
        pad_token_id=dense.pad_token_id,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def test_it_is_the_models_own(experts):
    policy = load_policy(str(experts))
    ids = torch.arange(20, 29)
    plan = policy.make_plan([ids[:4].tolist()], torch.tensor([0]), ids[None, 4:], torch.ones(1, 5, dtype=torch.bool))
    assert policy(plan).router_loss is None
    got = policy(plan, router_loss=True).router_loss
    # The last token predicts nothing and is not computed.
    expected = AutoModelForCausalLM.from_pretrained(experts)(ids[None, :-1], output_router_logits=True).aux_loss
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    got.backward()
    gates = [parameter.grad for name, parameter in policy.named_parameters() if name.endswith("gate.weight")]
    assert len(gates) == 2
    assert all(grad.abs().max() > 1e-6 for grad in gates)


def test_a_run_balances_its_routers(settings, experts, tmp_path, rows_of):
    changes = {"policy.path": str(experts), "training.steps": 6, "optimizer.warmup_steps": 0, "optimizer.lr": 1e-2}
    changes |= {"training.mini_batches": 1, "rewards.short.weight": 1e-6, "rewards.vowel.weight": 1e-6}
    result = train(settings(changes | {"policy.router_loss_coef": 1.0}))
    losses = [float(row["policy/router_loss"]) for row in rows_of(result)]
    # Two of four experts for each token: a balanced layer has a loss of 2.
    assert 2.0 <= min(losses) < losses[0]
    assert losses[-1] - 2.0 < 0.5 * (losses[0] - 2.0)


@pytest.mark.parametrize("attention", ["packed", "padded"])
def test_models_without_it_are_refused(settings, experts, attention):
    path = {} if attention == "packed" else {"policy.path": str(experts)}
    with pytest.raises(ConfigError, match=r"policy.router_loss_coef=0.1 needs a mixture of experts that is packed"):
        train(settings({**path, "policy.attention": attention, "policy.router_loss_coef": 0.1}))
