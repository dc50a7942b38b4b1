from __future__ import annotations

import copy
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import forks
import pytest
import torch
import yaml

WORDS = ("zero", "one", "two", "three", "four")


@pytest.fixture(scope="session")
def prompt_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 plain prompts of different lengths with a column `answer`."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = [{"prompt": f"the answer is {' '.join(WORDS[: n % 5])} {n}", "answer": str(n)} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def settings(tmp_path: Path, tiny_model: Path, prompt_file: Path):
    """`settings(**{"training.steps": 3})`: the mapping of a small two-reward run, dotted keys replaced."""
    base: dict[str, Any] = {
        "seed": 1,
        "output": str(tmp_path / "run"),
        "policy": {"path": str(tiny_model)},
        "prompts": {"path": str(prompt_file)},
        "rewards": {
            "short": {"name": "length", "limit": 8},
            "vowel": {"name": "regex", "pattern": "[ae]", "weight": 0.5},
        },
        "estimator": {"name": "gdpo"},
        "sampling": {"max_tokens": 12},
        "optimizer": {"lr": 3e-3, "schedule": "linear", "warmup_steps": 1},
        "training": {
            "steps": 4,
            "prompts_per_step": 6,
            "group_size": 4,
            "mini_batches": 2,
            "inner_epochs": 2,
            "checkpoint_every": 1,
            "keep_checkpoints": 99,
        },
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }

    def make(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        config = copy.deepcopy(base)
        for key, value in (changes or {}).items():
            *parents, last = key.split(".")
            node = config
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value
        return config

    return make


@pytest.fixture
def weights_of():
    """The weights of a model folder, as plain transformers loads them."""
    from transformers import AutoModelForCausalLM

    def load(folder: Path | str) -> dict[str, torch.Tensor]:
        return dict(AutoModelForCausalLM.from_pretrained(folder).requires_grad_(False).named_parameters())

    return load


@pytest.fixture
def difference(tiny_model, weights_of):
    """Distance of the weights of two runs, relative to how far the first moved from the initial policy."""

    def measure(first: Path | str, second: Path | str) -> float:
        start, one, two = (weights_of(folder) for folder in (tiny_model, first, second))
        moved = torch.cat([(one[name] - start[name]).flatten() for name in one]).norm()
        apart = torch.cat([(one[name] - two[name]).flatten() for name in one]).norm()
        assert moved > 0
        return float(apart / moved)

    return measure


@pytest.fixture(scope="session")
def rows_of():
    """The rows of a run's metrics, one per step."""

    def read(result: Any) -> list[dict[str, str]]:
        with (result.folder / "logs" / "metrics.csv").open(newline="") as file:
            return [row for row in csv.DictReader(file) if row["loss"]]

    return read


@pytest.fixture(scope="session")
def same_bits():
    """Whether two sets of weights are the same."""

    def compare(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
        return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

    return compare


@pytest.fixture(scope="session")
def run_cli():
    """`morl train` of a config mapping, or another command, in a process of its own for every rank."""

    def run(config: Any, folder: Path, command: Sequence[str] = (), **environment: str) -> forks.Done:
        if not command:
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
            command = ("train", str(folder / "config.yaml"))
        written = config or yaml.safe_load((Path(command[1]) / "config.yaml").read_text())
        ranks = written.get("trainer", {}).get("devices", 1)
        for argument in command:
            if argument.startswith("--trainer.devices="):
                ranks = argument.partition("=")[2]
        return forks.run(["morl", *command], folder, ranks=int(ranks), environment=environment)

    return run
