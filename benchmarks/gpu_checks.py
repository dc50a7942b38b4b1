"""What `gpu.py` holds to be right on a device: morl against itself by another way, as numbers with a limit each."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors.torch import load_file
from trl_cases import GROUP, Case, make_prompts

STEPS, STOPPED_AFTER = 4, 2
"""Steps of every run of the checks, and those that are finished when the one that is resumed stops."""


@frozen
class Finding:
    """One check.

    Attributes:
        found: what was measured.
        limit: it is right up to this.
        what: the number in words.
    """

    found: float
    limit: float
    what: str

    @property
    def right(self) -> bool:
        return self.found <= self.limit  # False for NaN


def check_forward(model: Path, device: str, case: Case) -> Finding:
    """The packed forward against the usual padded one, in float32."""
    from morl.policy.load import load_policy, load_tokenizer

    tokenizer = load_tokenizer(str(model))
    prompts = [tokenizer(text)["input_ids"] for text in make_prompts(case, 4)]
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(10, 2000, (4 * GROUP, case.max_tokens), generator=generator)
    lengths_B = torch.randint(1, case.max_tokens + 1, (4 * GROUP,), generator=generator)
    mask_BT = torch.arange(case.max_tokens) < lengths_B.unsqueeze(1)
    groups_B = torch.arange(4).repeat_interleave(GROUP)
    logprobs = []
    for attention in ("packed", "padded"):
        policy = load_policy(str(model), attention=attention).to(device)  # type: ignore[arg-type]
        plan = policy.make_plan(prompts, groups_B, ids_BT * mask_BT, mask_BT)
        with torch.no_grad():
            logprobs.append(policy(plan.to(torch.device(device))).logprobs_T.cpu())
    return Finding(
        float((logprobs[0] - logprobs[1]).abs().max()),
        1e-3,
        "largest difference of a log-probability, packed against padded, float32",
    )


def check_runs(model: Path, accelerator: str, case: Case, folder: Path) -> dict[str, Finding]:
    """Rollout against training, DDP and FSDP2 on one rank and a resumed run against a plain one, in float32.

    Weights are compared by how far training moved them: AdamW makes a whole step of a gradient that is all rounding, so
    single weights may differ by as much as they moved.
    """
    train = Runs(model, accelerator, case, folder)
    plain = train("plain")
    moved = float((plain - weights(model)).norm())
    apart = {
        "ddp": float((train("ddp", "--trainer.strategy=ddp") - plain).norm()) / moved,
        "fsdp2": float((train("fsdp2", "--trainer.strategy=fsdp2") - plain).norm()) / moved,
    }
    train("resumed", f"--training.steps={STOPPED_AFTER}")
    apart["resume"] = float((train.resume("resumed") - plain).norm()) / moved
    findings = {
        name: Finding(value, 1e-2, "distance of the trained weights, as a share of what training moved them")
        for name, value in apart.items()
    }
    with (folder / "plain" / "logs" / "metrics.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    findings["rollout"] = Finding(
        float(first["rollout/logprob_difference_max"]),
        1e-3,
        "largest difference of a log-probability, sampled against trained, float32",
    )
    return findings


class Runs:
    """`morl train` in processes of their own, as users run it: strategies leave process groups behind.

    They are forked off one that has everything imported, and has not touched the device.
    """

    def __init__(self, model: Path, accelerator: str, case: Case, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._config = folder, folder / "config.yaml"
        rows = folder / "prompts.jsonl"
        prompts = make_prompts(case, STEPS * case.prompts)
        rows.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
        rewards = Path(__file__).with_name("trl_cases.py")
        self._config.write_text(json.dumps(self._sections(model, accelerator, case, rows, rewards)))  # JSON is YAML

    @staticmethod
    def _sections(model: Path, accelerator: str, case: Case, rows: Path, rewards: Path) -> Mapping[str, Any]:
        return {
            "policy": {"path": str(model)},
            "prompts": {"path": str(rows), "shuffle": False},
            "rewards": {name: {"name": "python", "function": f"{rewards}:{name}"} for name in ("even", "various")},
            "sampling": {"max_tokens": case.max_tokens},
            "optimizer": {"lr": 1e-5},
            "training": {
                "steps": STEPS,
                "prompts_per_step": case.prompts,
                "group_size": GROUP,
                "samples_every": 0,
                "checkpoint_every": STOPPED_AFTER,
            },
            "trainer": {"accelerator": accelerator, "devices": 1, "progress": False},
        }

    def __call__(self, name: str, *options: str) -> torch.Tensor:
        """Trains, and returns all weights on one axis."""
        return self._run(name, "train", str(self._config), f"--output={self._folder / name}", *options)

    def resume(self, name: str) -> torch.Tensor:
        """Resumes, up to all steps."""
        return self._run(name, "resume", str(self._folder / name), f"--training.steps={STEPS}")

    def _run(self, name: str, *arguments: str) -> torch.Tensor:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["morl.training.run"])
        log = self._folder / f"{name}.log"
        process = context.Process(target=_command, args=(arguments, str(log)))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"the run {name!r} failed: {log.read_text(errors='replace')[-1000:]}")
        return weights(self._folder / name / "model")


def _command(arguments: Sequence[str], log: str) -> None:
    """`morl` with these arguments, in a process of its own."""
    from morl.cli import main

    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(arguments))


def weights(model: Path) -> torch.Tensor:
    """Of a model folder, on one axis, in the order of their names."""
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(model.glob("*.safetensors")):
        tensors |= load_file(file)
    return torch.cat([tensors[name].flatten().double() for name in sorted(tensors)])
