"""Wall-clock time of a step whose batch was sampled ahead of time, against one that samples first.

    OMP_NUM_THREADS=1 python benchmarks/ahead.py [--backend vllm] [--case 10M-short-natural] [--rounds 3] [--steps 8]

Needs two idle cores: the rollout of the next batch has one, the update the other.  Runs take turns, and printed are
medians over all their steps but the first two.  Models, prompts and rewards are those of `trl_cases.py`.  What was
sampled ahead is learned from with the correction for its older weights, and without.

At best a step takes as long as its rollout or its update, whichever is longer.  So there is most to gain where both are
alike; that balance is printed, and the best that it allows.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rollouts import BACKENDS, ENGINE
from server import RolloutServer
from steps import train_steps
from trl_cases import CASES, save_model

ARMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lag 0": ({}, {}),
    "lag 1": ({"lag": 1}, {}),
    "lag 1, no correction": ({"lag": 1}, {"importance": {"correction": "none"}}),
}
"""What each changes: in the section `rollout`, and besides."""
WARM_UP = 2


def measure(case: str, backend: str, rounds: int, steps: int) -> dict[str, dict[str, float]]:
    """Median seconds of each arm's steps and their parts."""
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = folder / "model"
        save_model(CASES[case], model)
        options: dict[str, Any] = {"name": backend}
        if backend == "vllm":
            options |= ENGINE
        elif backend == "vllm-server":
            server = stack.enter_context(RolloutServer(model, ENGINE))
            server.start()
            options["urls"] = [server.url]
        for turn in range(rounds):
            for name, (rollout, others) in ARMS.items():
                changes = {"rollout": {**options, **rollout}, **others}
                seconds[name] += train_steps(CASES[case], model, folder / f"{turn} {name}", steps, changes, WARM_UP)
    return {
        name: {part: statistics.median(row[part] for row in rows) for part in rows[0]} for name, rows in seconds.items()
    }


def main() -> None:
    """Prints a line per arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="transformers", choices=BACKENDS)
    parser.add_argument("--case", default="10M-short-natural", choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    medians = measure(options.case, options.backend, options.rounds, options.steps)
    print(f"{options.case}, {options.backend}, medians of {options.rounds * (options.steps - WARM_UP)} steps, seconds")
    whole = medians["lag 0"]["step"]
    for name, parts in medians.items():
        print(
            f"{name:21} waiting for rollouts {parts['sync'] + parts['rollout']:6.3f}  update {parts['update']:6.3f}"
            f"  step {parts['step']:6.3f}  {whole / parts['step']:.2f}x"
        )
    rollout = medians["lag 0"]["sync"] + medians["lag 0"]["rollout"]
    print(
        f"sampling is {rollout / whole:.0%} of a step of lag 0, so at best {whole / max(rollout, whole - rollout):.2f}x"
    )


if __name__ == "__main__":
    main()
