"""The contract grows without breaking anybody: the example plugin as it stood before it grew, installed and run.

`tests/data/example-plugin` is a copy that is never brought up to date.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SOURCE = Path(__file__).resolve().parents[1] / "data" / "example-plugin"

CHECK = """
import json, sys
import morl_example.rloo
from morl.plugins import Registry
from morl.testing import check_advantage_estimator, check_reward_provider
from morl.types import Completion, Prompt
from morl_example.prompts import WordList
from morl_example.rewards import DistinctNgrams, Keywords
from morl_example.rloo import RLOO

check_advantage_estimator(RLOO, claims=["zero-mean", "shift", "dead-reward", "local"], max_examples=10)
prompt = WordList(size=1).load()[0]
completions = [Completion(prompt, text, ()) for text in ("", "a b a b", " ".join(prompt.columns["keywords"]))]
for make in (Keywords, DistinctNgrams):
    check_reward_provider(make, completions)
info = [plugin for plugin in Registry().plugins if plugin.distribution == "morl-example"]
print(json.dumps({"file": morl_example.rloo.__file__, "offers": info[0].offers, "error": info[0].error,
                  "observes": info[0].observes, "number": len(info)}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the frozen plugin, as `pip install --target` makes it."""
    source = tmp_path_factory.mktemp("source") / "example-plugin"
    shutil.copytree(SOURCE, source)
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--no-index", "--target", str(target), str(source)], check=True, capture_output=True)
    return target


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the frozen plugin in front of everything else."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=280, check=False, env=environment
    )


def test_its_parts_are_found_and_keep_their_laws(installed):
    done = run(installed, "-c", CHECK)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["file"]).is_relative_to(installed), "the frozen one, not the one of this checkout"
    assert found["number"] == 1
    assert found["error"] is None
    assert found["offers"] == {
        "prompt source": ["word-list"],
        "reward provider": ["keywords", "distinct-ngrams"],
        "advantage estimator": ["rloo"],
    }
    assert found["observes"] == ["morl_advantages_ready"]


@pytest.mark.parametrize("estimator", ["rloo", "conditioned-rloo"])
def test_a_run_with_its_parts_learns(installed, tmp_path, tiny_model, estimator):
    config = {
        "output": str(tmp_path / "run"),
        "policy": {"path": str(tiny_model)},
        "prompts": {"name": "word-list", "words": 2, "size": 8},
        "rewards": {
            "uses": {"name": "keywords"},
            "varied": {"name": "distinct-ngrams", "n": 1, "weight": 0.5},
            "short": {"name": "length", "limit": 8},
        },
        "estimator": {"name": estimator},
        "sampling": {"max_tokens": 12},
        "optimizer": {"lr": 1e-3, "betas": [0.9, 0.95], "schedule": "cosine"},
        "training": {"steps": 2, "prompts_per_step": 4, "group_size": 4},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }
    if estimator.startswith("conditioned-"):
        config["estimator"]["conditions"] = {"varied": {"on": "short", "at_least": 0}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = run(installed, "-m", "morl", "train", str(tmp_path / "config.yaml"))
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "logs" / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["loss"]]
    assert len(rows) == 2
    for row in rows:
        assert float(row["advantage/std"]) > 0
        assert float(row["optimizer/grad_norm"]) > 0
        assert 0 <= float(row["reward/varied/mean"]) <= 1
    resolved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert "weighting" not in resolved["estimator"], "an estimator without one has none"
