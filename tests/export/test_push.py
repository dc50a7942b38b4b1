"""Uploads to a stand-in for the hub, and what is refused before training."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM

from morl import ConfigError, train
from morl.artifacts.folder import RunFolder
from morl.cli import main

_SPEC = importlib.util.spec_from_file_location("standin_hub", Path(__file__).with_name("hub.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
standin = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(standin)


@pytest.fixture
def hub(monkeypatch):
    with standin.standing_in() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", standin.TOKEN)
        yield server


@pytest.fixture
def config(tmp_path, tiny_model):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"the answer is {n}"}) + "\n" for n in range(4)))
    return {
        "output": str(tmp_path / "run"),
        "policy": {"path": str(tiny_model)},
        "prompts": {"path": str(prompts)},
        "rewards": {"vowel": {"name": "regex", "pattern": "[ae]"}},
        "sampling": {"max_tokens": 4},
        "training": {"steps": 1, "prompts_per_step": 2, "group_size": 2, "push_to_hub": "me/model"},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }


def test_the_final_model_is_uploaded_with_its_card(hub, config, tmp_path):
    result = train(config)
    assert hub.repositories == {"me/model": True}, "private"
    assert "| vowel | `regex` | 1.0 |" in hub.files["README.md"].decode()
    received = tmp_path / "received"
    received.mkdir()
    for name, content in hub.files.items():
        (received / name).write_bytes(content)
    first, second = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (received, result.model))
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_a_failed_upload_leaves_the_model_and_can_be_made_up_for(hub, config, capsys):
    hub.fails = True
    assert main(["train", in_file(config)]) == 2
    said = capsys.readouterr().err
    assert re.search(r"the model is in .*model, but could not be uploaded to me/model: .*", said)
    assert "resume" not in said, "there is nothing left to do but the upload"
    folder = RunFolder(Path(config["output"]))
    assert folder.model.is_dir()
    command = ["export", str(folder.path), "--push_to_hub", "me/model"]
    assert main(command) == 2, "and once more"
    assert f"try again: morl {' '.join(command)}" in capsys.readouterr().err
    hub.fails = False
    assert main(command) == 0
    assert f"uploaded to {hub.url}/me/model" in capsys.readouterr().out
    assert "model.safetensors" in hub.files


def test_sigterm_during_the_upload_ends_it_and_says_how_to_make_up_for_it(hub, config, capsys):
    hub.stops = True
    assert main(["train", in_file(config)]) == 143
    folder = RunFolder(Path(config["output"]))
    upload = f"upload it with: morl export {folder.path} --push_to_hub me/model"
    assert f"the run has made its 1 steps, and its model is in {folder.model}; {upload}" in capsys.readouterr().err
    assert not hub.files


def in_file(config):
    path = Path(config["output"]).with_name("config.yaml")
    path.write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model", "training.push_to_hub=model: name the repository as owner/name"),
        ("me/a/b", "training.push_to_hub: Repo id must be"),
        ("me/--", "training.push_to_hub: "),
    ],
)
def test_what_is_no_repository_is_refused(hub, config, name, said):
    config["training"]["push_to_hub"] = name
    with pytest.raises(ConfigError, match=said):
        train(config)
    assert not Path(config["output"]).exists()


def test_without_network_or_login_it_is_refused_before_the_model_is_loaded(hub, config, monkeypatch):
    config["policy"]["path"] = "not/there/at/all"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ConfigError, match=r"training.push_to_hub=me/model: the hub does not answer, or does not know"):
        train(config)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"the hub does not answer, or does not know you \(.*\); log in"):
        train(config)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="needs the network, and HF_HUB_OFFLINE is set; leave it out"):
        train(config)
