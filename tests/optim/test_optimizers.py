"""morl's optimizers beside those that they come from, one parameter at a time, and what they refuse."""

from __future__ import annotations

import copy
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.multiprocessing.spawn import start_processes
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.optimization import Adafactor as FactoredOfTransformers
from transformers.trainer_pt_utils import get_parameter_names

from morl.errors import ConfigError
from morl.optim.classes import ON_SHARDS, TorchOptimizer
from morl.optim.low_memory import Adafactor, QuantisedAdamW
from morl.optim.muon import MuonAdamW
from morl.optim.optimizer import AdamW, build_optimizer

LR, STEPS = 0.01, 3


def make_model() -> nn.Module:
    config = Qwen2Config(
        vocab_size=16, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen2ForCausalLM(config)


def step_along(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
    """Steps on a function of the weights whose gradients differ everywhere."""
    for _ in range(STEPS):
        loss = sum((weight * (n + 1) - 0.3).square().sum() for n, weight in enumerate(model.parameters()))
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def named(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict(model.named_parameters())


def agrees(builder, make_others) -> None:
    """The builder's optimizer moves a model as those that are made by hand for it."""
    ours, theirs = make_model(), make_model()
    step_along(ours, [build_optimizer(builder, ours, LR)])
    step_along(theirs, make_others(named(theirs)))
    for name, weight in named(ours).items():
        assert torch.allclose(weight, named(theirs)[name], rtol=1e-5, atol=1e-7), name
        assert not torch.equal(weight, named(make_model())[name])


def test_adamw_leaves_norms_and_biases_without_decay_where_asked():
    def by_hand(weights):
        # Whom transformers' Trainer lets decay, found by names and types of modules.
        forbidden = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
        decays = get_parameter_names(make_model(), [nn.LayerNorm], forbidden)
        assert 0 < len(decays) < len(weights)
        groups = [
            {"params": [weight for name, weight in weights.items() if name in decays], "weight_decay": 0.5},
            {"params": [weight for name, weight in weights.items() if name not in decays], "weight_decay": 0.0},
        ]
        return [torch.optim.AdamW(groups, lr=LR)]

    agrees(AdamW(weight_decay=0.5, decay="matrices"), by_hand)


def test_adamw_by_default_is_torchs_with_one_group():
    agrees(AdamW(weight_decay=0.5), lambda weights: [torch.optim.AdamW([*weights.values()], lr=LR, weight_decay=0.5)])
    assert len(build_optimizer(AdamW(weight_decay=0.5), make_model(), LR).param_groups) == 1


@pytest.mark.parametrize("fused", [True, False])
def test_adamw_is_fused_as_asked(fused):
    assert build_optimizer(AdamW(fused=fused), make_model(), LR).defaults["fused"] is fused
    assert build_optimizer(AdamW(), make_model(), LR).defaults["fused"] is True


def test_muon_trains_matrices_inside_the_model_and_adamw_the_rest():
    def by_hand(weights):
        hidden = {n: w for n, w in weights.items() if w.ndim == 2 and n.startswith("model.layers.")}
        rest = [w for n, w in weights.items() if n not in hidden]
        assert len(hidden) == 7
        assert len(rest) == 8
        return [
            torch.optim.Muon([*hidden.values()], lr=LR, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=0.5 * LR, weight_decay=0.1),
        ]

    agrees(MuonAdamW(weight_decay=0.1, adamw_lr=0.5 * LR), by_hand)


def test_muon_alone_and_muon_without_a_matrix():
    matrix = nn.Linear(4, 4, bias=False)
    assert isinstance(build_optimizer(MuonAdamW(), matrix, LR), torch.optim.Muon)
    with pytest.raises(ConfigError, match="muon finds no matrix to train"):
        build_optimizer(MuonAdamW(adamw_for=["weight"]), matrix, LR)


def test_adafactor_is_transformers_without_relative_steps():
    def by_hand(weights):
        return [FactoredOfTransformers([*weights.values()], lr=LR, scale_parameter=False, relative_step=False)]

    agrees(Adafactor(), by_hand)


@pytest.mark.parametrize(
    ("path", "options", "made"),
    [
        ("SGD", {"momentum": 0.9}, lambda tensors: torch.optim.SGD(tensors, lr=LR, momentum=0.9)),
        ("torch.optim.NAdam", {"betas": [0.8, 0.9]}, lambda t: torch.optim.NAdam(t, lr=LR, betas=(0.8, 0.9))),
        ("torch.optim.Adafactor", {}, lambda tensors: torch.optim.Adafactor(tensors, lr=LR)),
        (
            "transformers.optimization.Adafactor",
            {"relative_step": False},
            lambda tensors: FactoredOfTransformers(tensors, lr=LR, relative_step=False),
        ),
    ],
)
def test_any_class_with_its_options(path, options, made):
    agrees(TorchOptimizer(path, options), lambda weights: [made([*weights.values()])])


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("SDG", {}, "SDG cannot be imported: .*did you mean 'SGD'"),
        ("no_such_module.Adam", {}, "no_such_module.Adam cannot be imported"),
        ("torch.nn.Linear", {}, "derived from torch.optim.Optimizer; torch.nn.Linear is none"),
        ("Optimizer", {}, "Optimizer is none"),
        ("SGD", {"lr": 1.0}, "init_args.lr: morl gives it"),
        ("SGD", {"momentun": 0.9}, "takes no such option; did you mean 'momentum'"),
        ("SGD", {"momentum": -1.0}, "SGD cannot be made: Invalid momentum value"),
        ("LBFGS", {}, "LBFGS cannot train a policy"),
        ("SparseAdam", {}, "SparseAdam cannot train a policy"),
        ("Muon", {}, "Muon cannot be made: .*the optimizer `muon` takes the rest by AdamW"),
    ],
)
def test_a_class_that_cannot_train_is_refused_when_the_config_is_read(path, options, message):
    with pytest.raises(ConfigError, match=message):
        TorchOptimizer(path, options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdamW(decay="matrices"), "decay: matrices has no effect without weight_decay"),
        (lambda: Adafactor(decay="matrices"), "decay: matrices has no effect without weight_decay"),
        (lambda: Adafactor(eps=(1e-3,)), "eps must be two numbers"),
        (lambda: Adafactor(decay_rate=0.8), "decay_rate must be below 0"),
        (lambda: Adafactor(beta1=1.0), "beta1 must be below 1"),
        (lambda: MuonAdamW(momentum=1.0), "momentum must be below 1"),
        (lambda: MuonAdamW(betas=(0.9,)), "betas must be two numbers"),
        (lambda: QuantisedAdamW(bits=32), "is plain AdamW; use the optimizer adamw"),
    ],
)
def test_options_out_of_range_or_without_effect_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_8_bit_adamw_says_what_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes; install it with: pip install 'morl-llm\[quantised\]'"):
        QuantisedAdamW()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_paged_moments_need_a_gpu(monkeypatch):
    module = types.ModuleType("bitsandbytes")
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "bitsandbytes", module)
    with pytest.raises(ConfigError, match="paged: true needs a GPU, and there is none; leave it out"):
        QuantisedAdamW(paged=True)


def test_8_bit_adamw_is_torchs_but_for_the_rounding_of_moments():
    """Exactly of weights that are too small for 8 bits, closely of large ones."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install 'morl-llm[quantised]'")
    generator = torch.Generator().manual_seed(0)
    begun = {"small": torch.randn(20, 20, generator=generator), "large": torch.randn(100, 100, generator=generator)}
    moved = []
    for make in (QuantisedAdamW(weight_decay=0.1), AdamW(weight_decay=0.1)):
        weights = [(name, torch.nn.Parameter(weight.clone())) for name, weight in begun.items()]
        optimizer = make(weights, 0.01)
        draws = torch.Generator().manual_seed(1)
        for _ in range(5):
            for _, weight in weights:
                weight.grad = torch.randn(weight.shape, generator=draws)
            optimizer.step()
        moved.append({name: weight.detach() - begun[name] for name, weight in weights})
    torch.testing.assert_close(moved[0]["small"], moved[1]["small"], atol=1e-6, rtol=1e-4)
    apart = (moved[0]["large"] - moved[1]["large"]).norm() / moved[1]["large"].norm()
    assert 1e-4 < apart < 0.1, "0.02 is seen"


# Sharded -------------------------------------------------------------------------------------------------------------

SHARDED = {
    "adamw": AdamW(weight_decay=0.1, decay="matrices"),
    "muon": MuonAdamW(weight_decay=0.1),
    **{name: TorchOptimizer(name) for name in ON_SHARDS},
}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for name, builder in SHARDED.items():
        model = make_model()
        fully_shard(model.model.layers[0])  # type: ignore[union-attr, index]
        fully_shard(model)
        step_along(model, [build_optimizer(builder, model, LR)])
        whole = {key: weight.full_tensor() for key, weight in model.named_parameters() if isinstance(weight, DTensor)}
        if rank == 0:
            torch.save(whole, f"{folder}/{name}.pt")
    dist.destroy_process_group()


def test_an_optimizer_says_whether_it_steps_on_sharded_weights():
    assert all(getattr(builder, "sharded", True) for builder in SHARDED.values())
    others = [Adafactor(), TorchOptimizer("Adafactor"), TorchOptimizer("transformers.optimization.Adafactor")]
    assert not any(builder.sharded for builder in others)


@pytest.mark.slow
def test_sharded_weights_go_where_whole_ones_go(tmp_path: Path):
    start_processes(work, (str(tmp_path),), nprocs=2, start_method="spawn")
    for name, builder in SHARDED.items():
        model = make_model()
        step_along(model, [build_optimizer(copy.deepcopy(builder), model, LR)])
        sharded = torch.load(tmp_path / f"{name}.pt")
        assert sharded.keys() == named(model).keys()
        for key, weight in named(model).items():
            apart, moved = weight - sharded[key], weight - named(make_model())[key]
            # Of Muon, orthogonalising shards by matrix products that are summed over ranks gives 0.02, and the rows of
            # each rank alone 0.4 to 0.7.
            assert float(apart.norm() / moved.norm()) < 1e-4, (name, key, float(apart.norm() / moved.norm()))
