"""Runs that are killed at random operations on files and resumed, compared with runs that never were.

    python tests/endurance/endurance.py --kills 20 --seed 0    every config, so many kills in all

Weights are compared bit for bit; tables, samples and evaluations row by row, but for what a clock says.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import forks
from safetensors.torch import load_file

from morl.artifacts.files import fault_of
from morl.artifacts.folder import RunFolder
from morl.testing.models import tiny_model

SCRIPT = Path(__file__).with_name("killed.py")
MOST_PROCESSES = 200
"""After which a run is taken to make no progress."""

CONFIGS: Mapping[str, dict[str, Any]] = {
    "everything": {
        "evaluation": {"prompts": {"path": "PROMPTS", "limit": 4}, "every": 2},
        "training": {"samples_every": 1, "export_every": 2, "keep_best": "vowel", "mini_batches": 2},
        "prompts": {"limit": 7},
    },
    "lag": {"rollout": {"lag": 1}, "training": {"samples_every": 2}},
    "adapters": {"policy": {"lora": {"rank": 2}}, "training": {"keep_checkpoints": 1}},
    "late-checkpoints": {"training": {"checkpoint_every": 2, "samples_every": 1}},
}
ELSEWHERE = Path("/dev/shm")
"""Another file system for temporary files, where there is one: every second process has them there."""


@frozen
class Outcome:
    """How a run came to its end.

    Attributes:
        kills: how often it was killed.
        restarts: how often it was begun again, for want of a checkpoint.
        resumes: how often it was resumed.
    """

    kills: int
    restarts: int
    resumes: int


def config_of(name: str, model: Path, prompts: Path, output: Path, steps: int = 4) -> dict[str, Any]:
    """The config `name` as a mapping."""
    tree: dict[str, Any] = {
        "seed": 1,
        "output": str(output),
        "policy": {"path": str(model)},
        "prompts": {"path": str(prompts)},
        "rewards": {
            "short": {"name": "length", "limit": 6},
            "vowel": {"name": "regex", "pattern": "[ae]", "weight": 0.5},
        },
        "sampling": {"max_tokens": 8},
        "optimizer": {"lr": 3e-3},
        "training": {"steps": steps, "prompts_per_step": 4, "group_size": 4, "checkpoint_every": 1},
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False, "threads": 1},
    }
    for section, changes in CONFIGS[name].items():
        tree[section] = {**tree.get(section, {}), **changes}
    return yaml.safe_load(yaml.safe_dump(tree).replace("PROMPTS", str(prompts)))  # type: ignore[no-any-return]


def endure(name: str, model: Path, prompts: Path, folder: Path, kills: int, draws: random.Random) -> Outcome:
    """Runs a config once in peace and once under fire; what they leave must be the same.

    Args:
        name: of the config.
        model: folder of the policy.
        prompts: file of prompts.
        folder: an empty one.
        kills: how many at least.
        draws: where the kills fall.
    """
    whole, victim = RunFolder(folder / "whole"), RunFolder(folder / "victim")
    operations = _run(config_of(name, model, prompts, whole.path), whole, folder, 0, {})
    done = restarts = resumes = 0
    for number in range(MOST_PROCESSES):
        begun = bool(victim.complete_checkpoints())
        restarts, resumes = restarts + (not begun), resumes + begun
        environment = {"TMPDIR": str(ELSEWHERE)} if number % 2 and ELSEWHERE.is_dir() else {}
        at = draws.randint(1, operations) if done < kills else -1
        if _run(config_of(name, model, prompts, victim.path), victim, folder, at, environment) < 0:
            done += 1
            continue
        if done >= kills:
            break
        shutil.rmtree(victim.path)  # it came to its end before enough kills: once more
    else:
        raise AssertionError(f"{name}: no progress in {MOST_PROCESSES} processes")
    compare(whole, victim)
    return Outcome(done, restarts, resumes)


def _run(config: Mapping[str, Any], run: RunFolder, folder: Path, at: int, environment: Mapping[str, str]) -> int:
    """Trains or resumes; the number of operations on files, -1 where it was killed."""
    path, counted = folder / "config.yaml", folder / "operations"
    path.write_text(yaml.safe_dump(dict(config)))
    command = ["resume", run.path] if run.complete_checkpoints() else ["train", path]
    done = forks.run([SCRIPT, str(at), run.path, counted, *command], folder, environment=environment)
    if done.returncode == -9:
        return -1
    assert done.returncode == 0, done.output[-4000:]
    return int(counted.read_text())


def compare(whole: RunFolder, victim: RunFolder) -> None:
    """Asserts that two runs left the same."""
    first, second = (load_file(run.model / "model.safetensors") for run in (whole, victim))
    assert first.keys() == second.keys()
    assert all(bool((first[name] == second[name]).all()) for name in first), "weights differ"
    assert _rows(whole) == _rows(victim), "metrics differ"
    assert _evaluations(whole) == _evaluations(victim), "evaluations differ"
    names = [sorted(path.name for path in run.samples.glob("*")) for run in (whole, victim)]
    assert names[0] == names[1], "samples of other steps"
    for name in names[0]:
        assert (whole.samples / name).read_text() == (victim.samples / name).read_text(), f"{name} differs"
    for models in ("exports", "best"):
        contents = [sorted(str(p.relative_to(r.path)) for p in (r.path / models).rglob("*")) for r in (whole, victim)]
        assert contents[0] == contents[1], f"{models} differ"
    assert not any(victim.path.rglob(".*.draft")), "drafts are left"
    assert all(fault_of(checkpoint) is None for checkpoint in victim.complete_checkpoints())
    assert not victim.lock.exists()


def _rows(run: RunFolder) -> list[dict[str, str]]:
    with run.metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if not k.startswith("time/") and "per_second" not in k} for row in rows]


def _evaluations(run: RunFolder) -> Any:
    return json.loads(run.evaluation.read_text()) if run.evaluation.is_file() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="morl-endurance-") as temporary:
        prompts = Path(temporary) / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": f"the answer is {n}"}) + "\n" for n in range(12)))
        model = tiny_model(Path(temporary) / "model")
        for name in CONFIGS:
            folder = Path(temporary) / name
            folder.mkdir()
            each = -(-options.kills // len(CONFIGS))
            print(f"{name}: {endure(name, model, prompts, folder, each, draws)}", flush=True)


if __name__ == "__main__":
    main()
