"""Runs that are killed at random operations on files and resumed, compared with runs that never were.

    python tests/endurance/endurance.py --kills 20 --full 8 --seed 0    every config, so many in all

Besides kills, the disk is full from a random operation on: of a small file system of its own where one may be mounted,
else no file grows beyond a limit.  Then the run has to end by itself with what to do, and room is made.

Weights are compared bit for bit; tables, samples and evaluations row by row, but for what a clock says.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
        full: how often it ended because the disk was full.
        restarts: how often it was begun again, for want of a checkpoint.
        resumes: how often it was resumed.
    """

    kills: int
    full: int
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


def endure(
    name: str, model: Path, prompts: Path, folder: Path, kills: int, draws: random.Random, full: int = 0
) -> Outcome:
    """Runs a config once in peace and once under fire; what they leave must be the same.

    Args:
        name: of the config.
        model: folder of the policy.
        prompts: file of prompts.
        folder: an empty one.
        kills: how many at least.
        draws: where the kills fall.
        full: how many full disks at least.
    """
    whole = RunFolder(folder / "whole")
    operations = int(_run(config_of(name, model, prompts, whole.path), whole, folder, "kill", 0, {}))
    counts = {"kill": 0, "full": 0}
    restarts = resumes = 0
    with small_disk(folder / "disk") as fault_of_disk:
        victim = RunFolder(folder / "disk" / "victim")
        config = config_of(name, model, prompts, victim.path)
        for number in range(MOST_PROCESSES):
            wanted = [kind for kind, most in (("kill", kills), ("full", full)) if counts[kind] < most]
            if victim.model.is_dir():  # it was killed when all was done, but for giving the folder back
                victim.lock.unlink(missing_ok=True)
                if not wanted:
                    break
                shutil.rmtree(victim.path)
            begun = bool(victim.complete_checkpoints())
            restarts, resumes = restarts + (not begun), resumes + begun
            environment = {"TMPDIR": str(ELSEWHERE)} if number % 2 and ELSEWHERE.is_dir() else {}
            kind = draws.choice(wanted) if wanted else "kill"
            fault = "kill" if kind == "kill" else f"{fault_of_disk}-{draws.randint(1, 150_000)}"
            at = draws.randint(1, operations) if wanted else -1
            if _run(config, victim, folder, fault, at, environment) is None:
                counts[kind] += 1
                continue
            if not wanted:
                break
        else:
            raise AssertionError(f"{name}: no progress in {MOST_PROCESSES} processes")
        compare(whole, victim)
    return Outcome(counts["kill"], counts["full"], restarts, resumes)


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """Makes `folder` a file system of its own, where this is allowed; gives what `killed.py` can do to fill it."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield "limit"
        return
    try:
        yield "full"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _run(
    config: Mapping[str, Any], run: RunFolder, folder: Path, fault: str, at: int, environment: Mapping[str, str]
) -> int | None:
    """Trains or resumes; the number of operations on files, None where the fault ended it."""
    path, counted = folder / "config.yaml", folder / "operations"
    path.write_text(yaml.safe_dump(dict(config)))
    command = ["resume", run.path] if run.complete_checkpoints() else ["train", path]
    done = forks.run([SCRIPT, fault, str(at), run.path, counted, *command], folder, environment=environment)
    (run.path.parent / "ballast").unlink(missing_ok=True)
    if fault == "kill" and done.returncode == -9:
        return None
    left = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*"))
    told = f"{fault} at {at}: {done.output[-4000:]}\n{left}"
    if fault != "kill" and done.returncode == 2:
        assert (f"morl resume {run.path}" if run.complete_checkpoints() else "make room") in done.output, told
        # TensorBoard's own thread says so by itself, before.
        assert "Traceback" not in done.output.rpartition("error: ")[2], told
        return None
    assert done.returncode == 0, told
    return int(counted.read_text()) if not at else 0


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
    parser.add_argument("--full", type=int, default=8, help="full disks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--configs", nargs="*", default=list(CONFIGS), choices=list(CONFIGS))
    options = parser.parse_args()
    draws = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="morl-endurance-") as temporary:
        prompts = Path(temporary) / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": f"the answer is {n}"}) + "\n" for n in range(12)))
        model = tiny_model(Path(temporary) / "model")
        for name in options.configs:
            folder = Path(temporary) / name
            folder.mkdir()
            kills, full = (-(-number // len(options.configs)) for number in (options.kills, options.full))
            print(f"{name}: {endure(name, model, prompts, folder, kills, draws, full)}", flush=True)


if __name__ == "__main__":
    main()
