"""What is sent to an engine is a whole checkpoint of the policy, whatever the policy is wrapped in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from morl.errors import RolloutError
from morl.policy.load import load_policy, load_tokenizer
from morl.policy.model import PolicyModel
from morl.policy.options import LoRA
from morl.policy.save import save_policy
from morl_vllm.weights import Weight, check_weights, expected_shapes, policy_weights, read_all


def sent(policy: Any) -> dict[str, torch.Tensor]:
    weights = policy_weights(policy)
    check_weights(weights, expected_shapes(policy.base_model.config))
    return dict(read_all(weights))


def randomise_adapters(policy: PolicyModel) -> None:
    source = torch.Generator().manual_seed(1)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=source))


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3", "Llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_tensor_of_a_checkpoint_is_sent(make_model: Any, tmp_path: Path, family: str, tied: bool) -> None:
    folder = make_model(tmp_path, family, tie_word_embeddings=tied)
    tensors = sent(load_policy(str(folder)))
    saved = load_file(folder / "model.safetensors")
    assert set(tensors) == set(saved) | {"lm_head.weight"}
    for name, tensor in saved.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0)
    if tied:
        assert tensors["lm_head.weight"].data_ptr() == tensors["model.embed_tokens.weight"].data_ptr()


@pytest.mark.parametrize(
    "lora",
    [LoRA(rank=4), LoRA(rank=4, dora=True, rslora=True, target_modules=["q_proj"], modules_to_save=["norm"])],
    ids=["lora", "dora"],
)
def test_adapters_are_merged_as_in_the_saved_model(lora: LoRA, tied_model: str, tmp_path: Path) -> None:
    policy = load_policy(tied_model, lora=lora)
    randomise_adapters(policy)
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    tensors = sent(policy)
    save_policy(policy, load_tokenizer(tied_model), tmp_path)
    merged = load_file(tmp_path / "model.safetensors")
    plain = load_file(Path(tied_model) / "model.safetensors")
    for name, tensor in merged.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=1e-6)
    assert any(not torch.equal(merged[name], plain[name]) for name in merged)
    for name, tensor in policy.state_dict().items():
        assert torch.equal(tensor, before[name]), f"{name} of the policy was changed"


def test_a_tied_head_that_is_trained_whole_cannot_be_sent(tied_model: str) -> None:
    policy = load_policy(tied_model, lora=LoRA(rank=4, target_modules=["q_proj"], modules_to_save=["lm_head"]))
    with pytest.raises(RolloutError, match=r"'lm_head' cannot be merged.*take it out of policy.lora.target"):
        policy_weights(policy)


def test_an_adapter_on_a_tied_embedding_cannot_be_merged(tied_model: str) -> None:
    policy = load_policy(tied_model, lora=LoRA(rank=4, target_modules=["embed_tokens", "q_proj"]))
    with pytest.raises(RolloutError, match=r"'model.embed_tokens' cannot be merged.*take it out of policy.lora.target"):
        policy_weights(policy)


def test_an_adapter_on_an_embedding_of_its_own_can(make_model: Any, tmp_path: Path) -> None:
    folder = str(make_model(tmp_path, tie_word_embeddings=False))
    policy = load_policy(folder, lora=LoRA(rank=4, target_modules=["embed_tokens", "lm_head"]))
    randomise_adapters(policy)
    tensors = sent(policy)
    plain = load_file(tmp_path / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert tensors[name].shape == plain[name].shape
        assert not torch.equal(tensors[name], plain[name])


def test_anything_but_a_whole_checkpoint_is_refused(tied_model: str) -> None:
    policy = load_policy(tied_model)
    expected, weights = expected_shapes(policy.base_model.config), policy_weights(policy)
    check_weights(weights, expected)
    with pytest.raises(RolloutError, match=r"1 missing \(lm_head.weight\)"):
        check_weights([weight for weight in weights if weight.name != "lm_head.weight"], expected)
    with pytest.raises(RolloutError, match=r"1 unknown \(model.extra\)"):
        check_weights([*weights, Weight("model.extra", (2,), lambda: torch.zeros(2))], expected)
    first = weights[0]
    with pytest.raises(
        RolloutError, match=r"1 of another shape \(model.embed_tokens.weight \(7, 64\) for \(294, 64\)\)"
    ):
        check_weights([Weight(first.name, (7, 64), first.read), *weights[1:]], expected)
    with pytest.raises(RolloutError, match=r"27 missing \(model.embed_tokens.weight, .*, \.\.\.\)"):
        check_weights([], expected)


def test_a_vocabulary_that_grew_is_noticed(tied_model: str) -> None:
    policy = load_policy(tied_model)
    config = expected_shapes(policy.base_model.config)
    policy.base_model.resize_token_embeddings(320)
    with pytest.raises(RolloutError, match="2 of another shape"):
        check_weights(policy_weights(policy), config)


def test_bfloat16_stays_bfloat16(tied_model: str) -> None:
    assert {tensor.dtype for tensor in sent(load_policy(tied_model, dtype="bfloat16")).values()} == {torch.bfloat16}
