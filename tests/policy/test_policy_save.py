"""A saved policy is the policy, in a form that transformers loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import forks
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from morl.policy.load import load_policy, load_tokenizer
from morl.policy.model import PolicyModel
from morl.policy.options import LoRA
from morl.policy.save import save_policy

LOGPROBS = 1e-4
"""Of float32 log-probabilities by another way through the model; see "Limits for rounding" in CONTRIBUTING.md."""

Batch = tuple[list[list[int]], Tensor, Tensor, Tensor]
MakeModel = Callable[..., PreTrainedModel]
OneByOne = Callable[..., Tensor]


def disturb(policy: PolicyModel) -> None:
    """Move what is trained away from where it was loaded."""
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("full_weights", [False, True], ids=["own", "state-dict"])
@pytest.mark.parametrize("lora", [None, LoRA(rank=4)], ids=["full", "lora"])
def test_saved_policy_gives_the_same_logprobs(
    lora: LoRA | None, full_weights: bool, tiny_model: Path, tmp_path: Path, batch: Batch, one_by_one: OneByOne
) -> None:
    policy, tokenizer = load_policy(str(tiny_model), lora=lora), load_tokenizer(str(tiny_model))
    disturb(policy)
    weights = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    expected = policy(policy.make_plan(*batch)).logprobs_T
    if full_weights:  # as where the live parameters are shards
        for parameter in policy.parameters():
            parameter.data = torch.full_like(parameter, torch.nan)
    save_policy(policy, tokenizer, tmp_path, weights if full_weights else None)

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(one_by_one(loaded, *batch), expected, atol=LOGPROBS, rtol=0)
    assert load_tokenizer(str(tmp_path)).get_vocab() == tokenizer.get_vocab()
    again = load_policy(str(tmp_path))
    torch.testing.assert_close(again(again.make_plan(*batch)).logprobs_T, expected, atol=LOGPROBS, rtol=0)
    if not full_weights:
        assert all(torch.equal(tensor, weights[name]) for name, tensor in policy.state_dict().items())
        torch.testing.assert_close(policy(policy.make_plan(*batch)).logprobs_T, expected, atol=0, rtol=0)


@pytest.mark.parametrize("family_name", ["llama", "llama-tied", "gpt2", "gemma2", "mamba"])
def test_families(
    family_name: str, make_model: MakeModel, tiny_model: Path, tmp_path: Path, batch: Batch, one_by_one: OneByOne
) -> None:
    make_model(family_name).save_pretrained(tmp_path / "before")
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.save_pretrained(tmp_path / "before")
    policy = load_policy(str(tmp_path / "before"))
    weights = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    save_policy(policy, tokenizer, tmp_path / "after", weights)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "after")
    expected = one_by_one(make_model(family_name), *batch)
    torch.testing.assert_close(one_by_one(loaded, *batch), expected, atol=LOGPROBS, rtol=0)


def test_the_adapter_can_be_used_by_itself(
    tiny_model: Path, tmp_path: Path, batch: Batch, one_by_one: OneByOne
) -> None:
    from peft import PeftModel

    policy = load_policy(str(tiny_model), lora=LoRA(rank=4))
    disturb(policy)
    save_policy(policy, load_tokenizer(str(tiny_model)), tmp_path)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path / "adapter")
    expected = policy(policy.make_plan(*batch)).logprobs_T
    torch.testing.assert_close(one_by_one(adapted.merge_and_unload(), *batch), expected, atol=LOGPROBS, rtol=0)


def test_a_tied_weight_is_written_once(tiny_model: Path, tmp_path: Path) -> None:
    """Weights that are gathered from shards are a tensor for each name."""
    policy = load_policy(str(tiny_model))
    gathered = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    assert len(gathered) == 27
    save_policy(policy, load_tokenizer(str(tiny_model)), tmp_path, gathered)
    written = load_file(tmp_path / "model.safetensors")
    assert sorted(gathered.keys() - {f"model.{name}" for name in written}) == ["model.lm_head.weight"]


@pytest.mark.parametrize("lora", [None, LoRA(rank=4)], ids=["full", "lora"])
def test_the_folder_does_not_mention_morl(lora: LoRA | None, tiny_model: Path, tmp_path: Path) -> None:
    """Whoever loads it need not have morl installed."""
    policy = load_policy(str(tiny_model), lora=lora, dtype="bfloat16")
    save_policy(policy, load_tokenizer(str(tiny_model)), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "morl" not in json.dumps(config)
    assert config["dtype"] == "bfloat16"
    assert config["tie_word_embeddings"]
    assert policy.base_model.config.tie_word_embeddings
    assert (tmp_path / "generation_config.json").exists()


RANK = """
import os, sys, torch
from pathlib import Path
from morl.policy.load import load_policy, load_tokenizer
from morl.policy.save import save_policy
torch.distributed.init_process_group("gloo", rank=int(os.environ["LOCAL_RANK"]), world_size=2)
model, folder = sys.argv[1], Path(sys.argv[2])
save_policy(load_policy(model), load_tokenizer(model), folder / str(torch.distributed.get_rank()))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_every_rank_writes_the_folder_that_it_is_given(tiny_model: Path, tmp_path: Path) -> None:
    """Which of them write is the caller's to say; transformers would write that of the first one alone."""
    (tmp_path / "rank.py").write_text(RANK)
    done = forks.run([tmp_path / "rank.py", tiny_model, tmp_path], tmp_path, ranks=2)
    assert done.returncode == 0, done.output
    expected = load_policy(str(tiny_model)).base_model.state_dict()
    for rank in ("0", "1"):
        found = AutoModelForCausalLM.from_pretrained(tmp_path / rank).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
