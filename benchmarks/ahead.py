"""Wall-clock time of a step whose batch was sampled ahead of time, against one that samples first.

    OMP_NUM_THREADS=1 python benchmarks/ahead.py [--case 10M-short-fixed] [--rounds 3] [--steps 8]

Needs two idle cores: the rollout of the next batch has one, the update the other.  Runs take turns, each in this
process; printed are medians over all their steps but the first two.  Models, prompts and rewards are those of
`trl_cases.py`.  The correction of `rollout.lag`, which costs a forward pass, is measured with and without.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
from pathlib import Path
from typing import Any

from trl_cases import CASES, GROUP, PROMPTS, REWARDS, Case, make_prompts, save_model

from morl import Prompt, train

ARMS: dict[str, dict[str, Any]] = {
    "lag 0": {},
    "lag 1": {"rollout": {"lag": 1}},
    "lag 1, no correction": {"rollout": {"lag": 1}, "importance": {"correction": "none"}},
}
WARM_UP = 2


def run(case: Case, model: Path, output: Path, steps: int, arm: dict[str, Any]) -> list[dict[str, float]]:
    """Seconds of each step and its parts."""
    config = {
        "output": str(output),
        "policy": {"path": str(model)},
        "sampling": {"max_tokens": case.max_tokens},
        "optimizer": {"lr": 1e-5},
        "training": {
            "steps": steps,
            "prompts_per_step": PROMPTS,
            "group_size": GROUP,
            "samples_every": 0,
            "checkpoint_every": 0,
        },
        "trainer": {"accelerator": "cpu", "devices": 1, "threads": 1, "progress": False},
        **arm,
    }
    train(config, prompts=[Prompt(text) for text in make_prompts(case, steps * PROMPTS)], rewards=REWARDS)
    with (output / "logs" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[WARM_UP:]
    return [{part: float(row[f"time/{part}"]) for part in ("rollout", "update", "step")} for row in rows]


def main() -> None:
    """Prints a line per arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="10M-short-fixed", choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    case = CASES[options.case]
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        save_model(case, model)
        for turn in range(options.rounds):
            for name, arm in ARMS.items():
                seconds[name] += run(case, model, Path(folder) / f"{turn} {name}", options.steps, arm)
    medians = {
        name: {part: statistics.median(row[part] for row in rows) for part in ("rollout", "update", "step")}
        for name, rows in seconds.items()
    }
    print(f"{options.case}, medians of {len(seconds['lag 0'])} steps each, seconds")
    for name, parts in medians.items():
        print(
            f"{name:21} waiting for rollouts {parts['rollout']:6.3f}  update {parts['update']:6.3f}"
            f"  step {parts['step']:6.3f}  {medians['lag 0']['step'] / parts['step']:.2f}x"
        )


if __name__ == "__main__":
    main()
