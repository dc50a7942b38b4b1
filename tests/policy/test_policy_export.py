"""What could not be exported after the last step is refused before the first, and tied weights are exported right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from morl.errors import ConfigError
from morl.policy import small
from morl.policy.export import check_export
from morl.policy.load import load_model, load_policy, load_tokenizer
from morl.policy.options import LoRA
from morl.policy.save import save_policy

LOGPROBS = 1e-4
"""Of float32 log-probabilities by another way through the model; see "Limits for rounding" in CONTRIBUTING.md."""

CONTRADICTION = {"temperature": 0.9, "top_p": 0.6, "eos_token_id": 1}
Batch = tuple[list[list[int]], Tensor, Tensor, Tensor]
OneByOne = Callable[..., Tensor]


@pytest.mark.parametrize("lora", [None, LoRA(rank=4), LoRA(rank=4, dropout=0.5)], ids=["full", "lora", "dropout"])
def test_contradictory_generation_configs_are_kept(lora: LoRA | None, tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "generation_config.json").write_text(json.dumps(CONTRADICTION))
    tokenizer = load_tokenizer(str(folder))
    check_export(load_model(str(folder)), tokenizer, lora)
    policy = load_policy(str(folder), lora=lora)
    save_policy(policy, tokenizer, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert CONTRADICTION.items() <= written.items()
    assert policy.base_model.generation_config.temperature == 0.9
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").generation_config.top_p == 0.6


@pytest.mark.parametrize(
    "targets", [["q_proj", "embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"], ["q_proj"]], ids="+".join
)
def test_adapters_on_tied_weights_are_merged_right(
    targets: list[str], tiny_model: Path, tmp_path: Path, batch: Batch, one_by_one: OneByOne
) -> None:
    policy, tokenizer = load_policy(str(tiny_model), lora=LoRA(rank=4, target_modules=targets)), None
    tokenizer = load_tokenizer(str(tiny_model))
    check_export(load_model(str(tiny_model)), tokenizer, LoRA(rank=4, target_modules=targets))
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    expected = policy(policy.make_plan(*batch)).logprobs_T
    save_policy(policy, tokenizer, tmp_path)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(one_by_one(merged, *batch), expected, atol=LOGPROBS, rtol=0)
    assert merged.config.tie_word_embeddings == (targets == ["q_proj"])
    assert policy.base_model.config.tie_word_embeddings
    again = load_policy(str(tmp_path))
    torch.testing.assert_close(again(again.make_plan(*batch)).logprobs_T, expected, atol=LOGPROBS, rtol=0)


class Unwritable:
    def save_pretrained(self, folder: str) -> None:
        raise OSError("cannot be written")


def test_what_cannot_be_written_is_refused_early(tiny_model: Path) -> None:
    tokenizer: Any = Unwritable()
    with pytest.raises(ConfigError, match="could not be exported: OSError: cannot be written; mend its folder"):
        check_export(load_model(str(tiny_model)), tokenizer, None)


def test_an_export_that_computes_something_else_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(str(tiny_model))
    saved = PreTrainedModel.save_pretrained

    def lossy(self: PreTrainedModel, folder: str, **options: Any) -> None:
        options["state_dict"] = {
            name: tensor * (1.1 if "norm" in name else 1) for name, tensor in self.state_dict().items()
        }
        saved(self, folder, **options)

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", lossy)
    with pytest.raises(ConfigError, match="exported policy would not be the trained one: logits of a copy differ by"):
        check_export(model, load_tokenizer(str(tiny_model)), None)


def test_the_trial_draws_nothing_and_changes_nothing(tiny_model: Path) -> None:
    model = load_model(str(tiny_model))
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    check_export(model, load_tokenizer(str(tiny_model)), LoRA(rank=4))
    assert torch.equal(torch.get_rng_state(), state)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert isinstance(model.generation_config, GenerationConfig)


def test_of_a_large_model_the_first_layers_are_tried(
    tiny_model: Path, tmp_path: Path, make_model: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small, "WHOLE", 1000)
    model: Any = make_model("gemma3", num_hidden_layers=2).bfloat16()
    short: Any = small.short_copy(model, layers=1)
    assert short.dtype == torch.float32
    assert len(short.model.layers) == 2, "one of each kind"
    model = load_model(str(tiny_model))
    short = small.short_copy(model, layers=1)
    assert (len(short.model.layers), len(model.model.layers), model.config.num_hidden_layers) == (1, 2, 2)
    assert torch.equal(short.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight)
    check_export(model, load_tokenizer(str(tiny_model)), LoRA(rank=4, target_modules=["embed_tokens"]))
