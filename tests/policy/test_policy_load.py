"""Loading: what is refused, what is packed, how adapters come in."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    PreTrainedModel,
    RwkvConfig,
    RwkvForCausalLM,
)

from morl.errors import ConfigError, DataError
from morl.policy.attention import ATTENTION
from morl.policy.load import Attention, check_model, load_policy, load_tokenizer, wrap_policy
from morl.policy.options import LoRA
from morl.policy.probe import packing_fault
from morl.policy.source import Pretrained

LOGPROBS = 1e-4
"""Of float32 log-probabilities by another way through the model; see "Limits for rounding" in CONTRIBUTING.md."""

MakeModel = Callable[..., PreTrainedModel]

WHY_NOT_PACKED = {
    "gpt-oss": "takes s_aux into account, which packed attention does not know",
    "llama4": "are not all full or sliding attention",
    "diffllama": "call their attention more than once",
}


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_a_complete_folder_and_hub_names_pass(tiny_model: Path) -> None:
    check_model(str(tiny_model))
    check_model("Qwen/Qwen2.5-0.5B")
    check_model("gpt2")
    assert Pretrained(str(tiny_model)).resolve() == str(tiny_model)


def test_a_home_folder_is_found(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tiny_model.parent))
    assert Pretrained(f"~/{tiny_model.name}").resolve() == str(tiny_model)


@pytest.mark.parametrize("path", ["./no-such-folder", "/no/such/folder", "~/no-such-folder", "runs/a/final", ""])
def test_paths_that_do_not_exist_are_refused(path: str) -> None:
    with pytest.raises(DataError, match="the folder does not exist; give a model folder or a hub name"):
        Pretrained(path).resolve()


def test_a_file_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="it is a file; give the folder"):
        check_model(str(folder / "config.json"))


@pytest.mark.parametrize(
    ("patterns", "missing"),
    [
        (["config.json"], "missing: config.json;"),
        (["*.safetensors"], r"missing: weights \(\*.safetensors\);"),
        (["tokenizer*"], r"missing: a tokenizer \(tokenizer.json\);"),
        (["*"], r"missing: config.json, weights \(\*.safetensors\), a tokenizer \(tokenizer.json\); write both with"),
    ],
)
def test_incomplete_folders_are_refused_by_what_is_missing(folder: Path, patterns: list[str], missing: str) -> None:
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink()
    with pytest.raises(DataError, match=missing):
        check_model(str(folder))


def test_a_lone_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(DataError, match="LoRA adapter without its base model; merge them first"):
        check_model(str(tmp_path))


def test_damaged_files_are_data_errors(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    with pytest.raises(DataError, match="no causal language model could be loaded from"):
        load_policy(str(folder))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(DataError, match="no tokenizer could be loaded from"):
        load_tokenizer(str(folder))


def test_an_encoder_decoder_is_refused_in_few_words(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(DataError, match=r"T5Config.*; encoder-decoders and models of images") as caught:
        load_policy(str(folder))
    assert len(str(caught.value)) < 500


def test_damaged_weights_are_data_errors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(DataError, match="no causal language model could be loaded from"):
        load_policy(str(folder))


def edit_weights(folder: Path, change: Callable[[str], str | None]) -> None:
    """Renames weights, or drops those whose name becomes None."""
    file = folder / "model.safetensors"
    changed = {change(name): weight for name, weight in load_file(file).items()}
    save_file({name: weight for name, weight in changed.items() if name}, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (
            lambda name: None if "layers.1.mlp.up_proj" in name else name,
            "model.layers.1.mlp.up_proj.weight are missing",
        ),
        (lambda name: name.replace("layers.1.", "layers.7."), r", \.\.\. \(\d+ in all\) are missing"),
    ],
)
def test_weights_that_would_be_drawn_at_random_are_refused(
    folder: Path, change: Callable[[str], str | None], missing: str
) -> None:
    edit_weights(folder, change)
    with pytest.raises(DataError, match=rf"are not those of a whole \w+ForCausalLM: .*{missing} and would be drawn"):
        load_policy(str(folder))


def test_weights_that_are_left_out_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = json.loads((folder / "config.json").read_text())
    layers = config["num_hidden_layers"]
    fewer = {"num_hidden_layers": layers - 1, "layer_types": config["layer_types"][1:]}
    (folder / "config.json").write_text(json.dumps(config | fewer))
    with caplog.at_level(logging.WARNING, logger="morl.policy.load"):
        load_policy(str(folder))
    assert f"its export will be without them: model.layers.{layers - 1}.input_layernorm.weight, " in caplog.text


@pytest.mark.parametrize("decoder", [False, True])
def test_a_model_that_sees_what_follows_is_refused(decoder: bool) -> None:
    sizes = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    model = BertLMHeadModel(BertConfig(**sizes, num_attention_heads=4, is_decoder=decoder)).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:  # large enough that attention shows in the logits
            torch.nn.init.normal_(parameter, std=0.25, generator=torch.Generator().manual_seed(0))
    if decoder:
        wrap_policy(model)
        return
    with pytest.raises(ConfigError, match=r"BertLMHeadModel is not causal: .* \(is_decoder: true\)"):
        wrap_policy(model)


def test_a_model_that_changes_its_weights_is_refused() -> None:
    model = RwkvForCausalLM(RwkvConfig(vocab_size=97, hidden_size=32, num_hidden_layers=8, context_length=64)).eval()
    with pytest.raises(ConfigError, match="RwkvForCausalLM changes its weights while it computes"):
        wrap_policy(model)


def edit_tokenizer(folder: Path, **changes: str | None) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_tokenizer_without_padding_pads_with_the_end_token(folder: Path) -> None:
    assert load_tokenizer(str(folder)).pad_token == "<pad>"
    edit_tokenizer(folder, pad_token=None)
    assert load_tokenizer(str(folder)).pad_token == "<eos>"


def test_a_tokenizer_without_end_token_is_refused(folder: Path) -> None:
    edit_tokenizer(folder, eos_token=None)
    with pytest.raises(DataError, match="no end-of-sequence token, so completions could not end; set eos_token"):
        load_tokenizer(str(folder))


def test_packs_a_model_that_can(tiny_model: Path) -> None:
    policy = load_policy(str(tiny_model))
    assert policy.packed
    assert policy.base_model.config._attn_implementation == ATTENTION
    assert policy.training
    assert not any(module.training for module in policy.model.modules())
    assert not load_policy(str(tiny_model), attention="padded").packed


def test_dtype(tiny_model: Path) -> None:
    policy = load_policy(str(tiny_model), dtype="bfloat16")
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.bfloat16}
    assert policy.packed


def test_pads_a_model_that_cannot_pack(
    unpackable: str, make_model: MakeModel, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    make_model(unpackable).save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, logger="morl.policy.load"):
        assert not load_policy(str(tmp_path)).packed
    assert WHY_NOT_PACKED.get(unpackable, "does not let its attention be replaced") in caplog.text
    with pytest.raises(ConfigError, match=r"cannot use attention 'packed': .*; use 'auto' or 'padded'"):
        load_policy(str(tmp_path), attention="packed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float8"}, "unknown dtype 'float8' for the policy; expected one of float32, bfloat16"),
        ({"attention": "flash"}, "unknown attention 'flash'; expected auto, packed or padded"),
        ({"lora": LoRA(target_modules=["no_such_module"])}, r"target_modules \['no_such_module'\] do not fit"),
    ],
)
def test_options_that_cannot_be_are_refused(tiny_model: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_policy(str(tiny_model), **options)  # type: ignore[arg-type]


def test_lora_without_peft_says_what_to_install(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'morl-llm\[lora\]'"):
        load_policy(str(tiny_model), lora=LoRA())


@pytest.mark.parametrize("option", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_adapters_that_cannot_be_are_refused(option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        LoRA(**option)  # type: ignore[arg-type]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["packed", "padded"])
def test_lora_trains_the_adapters_only(
    attention: Attention, checkpointing: bool, tiny_model: Path, batch: tuple[list[list[int]], Tensor, Tensor, Tensor]
) -> None:
    policy = load_policy(
        str(tiny_model),
        attention=attention,
        lora=LoRA(rank=4),
        gradient_checkpointing=checkpointing,
    )
    torch.autograd.backward(policy(policy.make_plan(*batch)).logprobs_T.sum())
    for name, parameter in policy.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        assert (parameter.grad is not None) == ("lora_" in name)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    expected = base(input_ids=torch.arange(9)[None]).logits
    prompt, completion = [[0]], torch.arange(1, 9)[None]
    plan = policy.make_plan(prompt, torch.tensor([0]), completion, completion > 0)
    expected = expected[0, :-1].log_softmax(-1).gather(1, completion.T).squeeze(1)
    torch.testing.assert_close(policy(plan).logprobs_T, expected, atol=LOGPROBS, rtol=0)


def test_lora_dropout_is_kept(tiny_model: Path) -> None:
    policy = load_policy(str(tiny_model), lora=LoRA(dropout=0.25))
    drops = {path: m.p for path, m in policy.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert drops
    assert set(drops.values()) == {0.25}


def test_every_packable_family_passes_the_trial(family: str, make_model: MakeModel) -> None:
    model = make_model(family)
    own = model.config._attn_implementation
    assert packing_fault(model) is None
    assert model.config._attn_implementation in (own, "eager")


def test_the_trial_finds_attention_that_packing_would_change(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that scales its keys by how many tokens the call has, as one whose tokens mix by other means would."""
    model = make_model("llama")
    norm = type(model.model.norm)
    plain = norm.forward
    monkeypatch.setattr(norm, "forward", lambda self, x: plain(self, x) + 0.01 * x.mean(1, keepdim=True))
    assert "log-probabilities differ by" in str(packing_fault(model))


def test_the_trial_finds_layers_that_hide_their_window(make_model: MakeModel) -> None:
    model = make_model("mistral-wide")
    model.config.sliding_window = None
    assert packing_fault(model) is None
    model = make_model("gemma3", sliding_window=200)
    for layer in model.model.layers:
        layer.self_attn.sliding_window = None
    assert "not all full or sliding attention" in str(packing_fault(model))


def test_the_trial_survives_a_model_that_raises(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("llama")
    attention = type(model.model.layers[0].self_attn)
    plain = attention.forward

    def forward(self: object, *args: object, **kwargs: object) -> object:
        if "plan" in kwargs:
            raise TypeError("unexpected plan")
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(attention, "forward", forward)
    assert "fails with packed tokens: TypeError: unexpected plan" in str(packing_fault(model))
    assert model.config._attn_implementation != ATTENTION
