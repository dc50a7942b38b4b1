"""How a model is loaded: revisions, attention, code that comes with it, and models that are passed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from attrs import evolve
from transformers import AutoModelForCausalLM, AutoTokenizer

from morl import ConfigError, DataError, train
from morl.cli import main
from morl.config import PolicyConfig, parse
from morl.config.yaml12 import load
from morl.plugins import Registry
from morl.policy.load import load_policy
from morl.policy.options import Loading

CODE = """
from transformers import Qwen2Config, Qwen2ForCausalLM

class LoudConfig(Qwen2Config):
    model_type = "loud"

class LoudForCausalLM(Qwen2ForCausalLM):
    config_class = LoudConfig

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = 2 * output.logits
        return output
"""


@pytest.fixture
def loud_model(tiny_model, tmp_path):
    """A folder whose model is a class of its own, in a file beside the weights."""
    folder = tmp_path / "loud"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "loud.LoudConfig", "AutoModelForCausalLM": "loud.LoudForCausalLM"}
    config |= {"model_type": "loud", "architectures": ["LoudForCausalLM"], "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "loud.py").write_text(CODE)
    return folder


@pytest.fixture
def cached_model(tiny_model, tmp_path):
    """A cache of the hub with two revisions of a model, of which the second has other weights."""
    root = tmp_path / "hub" / "models--nobody--small"
    for revision, scale in (("a" * 40, 1.0), ("b" * 40, 3.0)):
        snapshot = root / "snapshots" / revision
        snapshot.mkdir(parents=True)
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        with torch.no_grad():
            model.model.norm.weight.mul_(scale)
        model.save_pretrained(snapshot)
        AutoTokenizer.from_pretrained(tiny_model).save_pretrained(snapshot)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("a" * 40)
    (root / "refs" / "second").write_text("b" * 40)
    return tmp_path / "hub"


def small(settings, **policy):
    changes = {"training.steps": 1, "optimizer.lr": 0.0, "optimizer.warmup_steps": 0}
    return settings(changes | {"policy": policy})


def test_a_revision_is_that_of_the_weights(settings, cached_model, tiny_model):
    arguments = {"revision": "second", "cache_dir": str(cached_model), "local_files_only": True}
    result = train(small(settings, path="nobody/small", model_args=arguments))
    written = AutoModelForCausalLM.from_pretrained(result.model).model.norm.weight
    assert torch.equal(written, 3 * AutoModelForCausalLM.from_pretrained(tiny_model).model.norm.weight)


def test_code_of_a_model_runs_only_where_it_is_trusted(settings, loud_model, tiny_model):
    with pytest.raises(DataError, match=r"trust_remote_code"):
        train(small(settings, path=str(loud_model)))
    result = train(small(settings, path=str(loud_model), trust_remote_code=True))
    ids = torch.arange(2, 7)[None]
    again = AutoModelForCausalLM.from_pretrained(result.model, trust_remote_code=True)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert torch.allclose(again(ids).logits, 2 * plain(ids).logits, rtol=1e-5)


def test_an_evaluation_trusts_the_code_of_a_run_of_its_own_and_that_it_is_told_to(
    settings, loud_model, prompt_file, tmp_path, capsys
):
    held_out = {"evaluation": {"prompts": {"path": str(prompt_file), "limit": 2}, "initial": False}}
    tree = small(settings, path=str(loud_model), trust_remote_code=True) | held_out
    result, config = train(tree), str(tmp_path / "other.yaml")
    Path(config).write_text(yaml.safe_dump(tree))
    output = f"--output={tmp_path / 'figures.json'}"
    assert main(["evaluate", str(result.folder), output]) == 0
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["rewards"]["vowel"]["mean"]["mean"] == result.evaluations[1]["vowel"]
    assert main(["evaluate", config, str(result.model)]) != 0
    assert "trust_remote_code" in capsys.readouterr().err
    assert main(["evaluate", config, str(result.model), output, "--policy.trust_remote_code=true"]) == 0
    assert json.loads((tmp_path / "figures.json").read_text())["rewards"] == found["rewards"]


def test_attention_of_the_padded_path_is_as_asked(tiny_model):
    policy = load_policy(str(tiny_model), attention="padded", loading=Loading(args={"attn_implementation": "eager"}))
    assert policy.base_model.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"model_args": {"dtype": "bfloat16"}}, "policy.model_args.dtype: set policy.dtype"),
        ({"model_args": {"trust_remote_code": True}}, "set policy.trust_remote_code"),
        ({"model_args": {"quantization_config": {}}}, "set policy.quantisation, beside policy.lora"),
        ({"model_args": {"revision": "main"}}, "policy.model_args.revision has no effect: .* is a folder"),
        ({"model_args": {"attn_implementation": "eager"}}, "set policy.attention=padded"),
    ],
)
def test_arguments_without_effect_are_refused(policy, message, settings, tiny_model):
    with pytest.raises(ConfigError, match=message):
        train(small(settings, path=str(tiny_model), **policy))


def passed(tiny_model, dtype):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    return {"policy": AutoModelForCausalLM.from_pretrained(tiny_model, dtype=dtype), "tokenizer": tokenizer}


def test_a_model_that_is_passed_keeps_its_dtype_and_the_run_notes_it(settings, tiny_model):
    result = train(small(settings), **passed(tiny_model, torch.bfloat16))
    assert load((result.folder / "config.yaml").read_text())["policy"]["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(result.model).dtype == torch.bfloat16


def test_a_config_object_says_nothing_about_the_dtype_unless_it_is_another(settings, tiny_model):
    registry = Registry.for_config({})
    plain = evolve(parse(small(settings, path="unused"), registry), policy=PolicyConfig())
    result = train(plain, **passed(tiny_model, torch.bfloat16))
    assert load((result.folder / "config.yaml").read_text())["policy"]["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            {"dtype": "bfloat16"},
            "policy.dtype=bfloat16 has no effect on a model that is passed, whose weights are float32",
        ),
        ({"trust_remote_code": True}, "policy.trust_remote_code has no effect on a model that is passed"),
        ({"model_args": {"revision": "x"}}, "policy.model_args has no effect on a model that is passed"),
    ],
)
def test_what_is_settled_when_a_model_is_loaded_is_refused_beside_one(policy, message, settings, tiny_model):
    with pytest.raises(ConfigError, match=message):
        train(small(settings, **policy), **passed(tiny_model, torch.float32))
