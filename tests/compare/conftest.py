from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from morl.cli import main


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """A shell has its background jobs ignore interrupts, and these tests send some."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


REWARDS = '''\
import os
import time
from pathlib import Path

from morl.errors import RewardError


def fine(prompts, completions, **columns):
    return [float(len(completion)) for completion in completions]


def refuses(prompts, completions, **columns):
    raise RewardError("the judge is away")


def exits(prompts, completions, **columns):
    os._exit(7)


def slow(prompts, completions, **columns):
    """Half a second per step, and a child that would outlive a careless end."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    with Path("children.txt").open("a") as file:
        file.write(f"{child}\\n")
    time.sleep(0.5)
    return [0.0] * len(completions)


def mended(prompts, completions, **columns):
    if not Path("mended.txt").exists():
        raise RewardError("broken yet")
    return [0.0] * len(completions)
'''


@pytest.fixture
def study(tmp_path: Path, tiny_model: Path, monkeypatch) -> dict[str, Any]:
    """A folder with `config.yaml`, a run of two short steps, and `rewards.py`, whose functions arms may add."""
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": f"the answer is {n}"}) + "\n" for n in range(8)))
    Path("rewards.py").write_text(REWARDS)
    config = {
        "policy": {"path": str(tiny_model)},
        "prompts": {"path": "prompts.jsonl"},
        "rewards": {"short": {"name": "length", "limit": 4}, "vowel": {"name": "regex", "pattern": "[ae]"}},
        "sampling": {"max_tokens": 6},
        "optimizer": {"lr": 3e-3},
        "training": {"steps": 2, "prompts_per_step": 2, "group_size": 4, "samples_every": 0},
        "evaluation": {"prompts": {"path": "prompts.jsonl", "limit": 2}},
        "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    return config


@pytest.fixture
def compare(study, capsys) -> Callable[..., tuple[int, str]]:
    """`compare("--seeds", "0")`: the exit code of `morl compare config.yaml ... --output out`, and what it said."""

    def call(*arguments: str, config: str = "config.yaml", output: str = "out") -> tuple[int, str]:
        code = main(["compare", config, *arguments, "--output", output])
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def arms(study) -> Callable[[Mapping[str, Any]], str]:
    """`arms({...})`: writes `arms.yaml` and returns its path."""

    def write(content: Mapping[str, Any]) -> str:
        Path("arms.yaml").write_text(yaml.safe_dump(dict(content), sort_keys=False))
        return "arms.yaml"

    return write
