"""What each rank keeps in memory between two steps, under `ddp` and under `fsdp2`, beside the formula.

    OMP_NUM_THREADS=1 python benchmarks/sharded.py [--size 10M] [--ranks 1 2 4] [--json FILE]

A run of two steps with a reference policy (`loss.kl_coef`), AdamW and the rollout backend `transformers`, on the CPU,
float32.  After the second step every rank adds up the storage of all tensors that are alive.  The formula, with W the
bytes of the weights and N the ranks:

    one rank, ddp   4 W           weights, reference, two moments of AdamW; the backend samples with the policy itself
    fsdp2           4 W / N + W   the same shared out, and a whole copy of the weights that the backend samples with

Between steps there are no gradients (W, or W / N, during the update), and no activations.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from trl_cases import SIZES, Case, make_prompts, save_model

CALLBACK = """
import gc, json, os, pathlib
import torch
from lightning.pytorch import Callback
from torch.distributed.tensor import DTensor

class Bytes(Callback):
    '''Writes what this rank holds after the second step.'''
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if int(module.finished_steps) < 2:
            return
        gc.collect()
        alive = [o for o in gc.get_objects() if isinstance(o, torch.Tensor)]
        local = [t.to_local() if isinstance(t, DTensor) else t for t in alive]
        storages = {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in local)}
        whole = sum(p.numel() * p.element_size() for p in module.policy.parameters())
        content = {"weights": whole, "held": sum(storages.values())}
        (self.folder / f"rank-{trainer.global_rank}.json").write_text(json.dumps(content))
"""


def prepare(case: Case, folder: Path) -> None:
    """What `measure` needs in its folder: a model, prompts, the callback."""
    save_model(case, folder / "model")
    (folder / "bytes_of_ranks.py").write_text(CALLBACK)
    prompts = (json.dumps({"prompt": text}) + "\n" for text in make_prompts(case, 16))
    (folder / "prompts.jsonl").write_text("".join(prompts))


def measure(
    folder: Path, ranks: int, strategy: str, name: str = "", changes: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Bytes of the weights, and those that each rank holds.

    Args:
        folder: see `prepare`.
        ranks: on this machine.
        strategy: `trainer.strategy`.
        name: of the run.
        changes: keys of sections of the config, over those of all runs.
    """
    place = folder / f"{name}{strategy}-{ranks}"
    place.mkdir()
    config: dict[str, Any] = {
        "output": str(place / "run"),
        "policy": {"path": str(folder / "model")},
        "prompts": {"path": str(folder / "prompts.jsonl")},
        "rewards": {"short": {"name": "length", "limit": 8}},
        "loss": {"kl_coef": 0.01},
        "sampling": {"max_tokens": 8},
        "training": {"steps": 2, "prompts_per_step": 4, "group_size": 2, "checkpoint_every": 0, "step_backup": False},
        "trainer": {
            "accelerator": "cpu",
            "devices": ranks,
            "strategy": strategy,
            "progress": False,
            "callbacks": [{"class_path": "bytes_of_ranks.Bytes", "init_args": {"folder": str(place)}}],
        },
    }
    for section, keys in (changes or {}).items():
        config[section] = {**config.get(section, {}), **keys}
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {**os.environ, "PYTHONPATH": str(folder), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, "-m", "morl", "train", str(place / "config.yaml")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    found = [json.loads((place / f"rank-{rank}.json").read_text()) for rank in range(ranks)]
    weights = found[0]["weights"]
    expected = 4 * weights if strategy != "fsdp2" else 4 * weights / ranks + weights
    held = [content["held"] for content in found]
    return {"strategy": strategy, "ranks": ranks, "weights": weights, "held": held, "formula": expected}


def main(arguments: Sequence[str] | None = None) -> None:
    """A row for each number of ranks and strategy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="10M", choices=list(SIZES))
    parser.add_argument("--ranks", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    case, rows = Case(options.size, (8, 24)), []
    with tempfile.TemporaryDirectory(prefix="morl-sharded-") as parent:
        folder = Path(parent)
        prepare(case, folder)
        print("strategy  ranks  weights MB  most of a rank MB  formula MB  ratio")
        for ranks in options.ranks:
            for strategy in ("auto",) if ranks == 1 else ("ddp", "fsdp2"):
                row = measure(folder, ranks, strategy)
                rows.append(row)
                most, formula = max(row["held"]), row["formula"]
                print(
                    f"{strategy:8}  {ranks:5}  {row['weights'] / 1e6:10.1f}  {most / 1e6:17.1f}  {formula / 1e6:10.1f}"
                    f"  {most / formula:5.2f}",
                    flush=True,
                )
    if options.json is not None:
        options.json.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
