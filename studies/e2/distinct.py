"""How many advantages a group has under each estimator of E2, and how many completions quantising moves.

`python studies/e2/distinct.py` trains with gdpo on the first tuning seed, as the tuning did, and asks the other
estimators about the same completions; it writes `studies/e2/distinct.json`.  Without this "no difference" would be
empty: the two could hardly differ in what they are given.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

import experiments  # noqa: E402

from morl.advantage import GDPO, GRPO  # noqa: E402
from morl.config import merge, read_configs  # noqa: E402
from morl.training.run import train  # noqa: E402
from morl.types import RewardMatrix  # noqa: E402
from morl_playground.quantised import QuantisedGDPO  # noqa: E402

ESTIMATORS = {"grpo": GRPO(), "quantised-gdpo": QuantisedGDPO(), "gdpo": GDPO()}
CASES = {"e2, G 8": ("e2", 8), "e2-five, G 8": ("e2-five", 8), "e2-five, G 4": ("e2-five", 4)}
COMPLETIONS = 128
"""Of a step, whatever the size of its groups."""
LEARNING_RATE = 1e-3
"""What the tuning chose for every arm."""


def matrices(study: str, group_size: int) -> Iterator[RewardMatrix]:
    """The rewards of every step of a run."""
    seed = experiments.TUNING_SEEDS[0]
    with tempfile.TemporaryDirectory() as scratch:
        changes = [
            *(f"--output={scratch}/run", f"--seed={seed}", f"--policy.seed={seed}", f"--optimizer.lr={LEARNING_RATE}"),
            *("--prompts.skip=0", "--prompts.size=256", "--evaluation=null", "--training.samples_every=1"),
            *(f"--training.group_size={group_size}", f"--training.prompts_per_step={COMPLETIONS // group_size}"),
        ]
        _, tree, overrides = read_configs([str(ROOT / "studies" / study / "config.yaml"), *changes])
        folder = train(merge(tree, overrides)).folder
        for path in sorted((folder / "samples").glob("step-*.jsonl")):
            yield _matrix([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()], study)


def _matrix(rows: Sequence[dict[str, Any]], study: str) -> RewardMatrix:
    counted = experiments.EXPERIMENTS[study].primary
    names = tuple(name.partition(":")[0] for name in counted.split(","))
    values_BK = torch.tensor([[row["rewards"][name] for name in names] for row in rows], dtype=torch.float64)
    return RewardMatrix(values_BK, torch.tensor([row["group"] for row in rows]), names)


def figures(study: str, group_size: int) -> dict[str, float]:
    """Means over the steps of a run: distinct advantages of a group, and the share of completions that are moved."""
    distinct: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    moved, apart = [], []
    for matrix in matrices(study, group_size):
        found = {name: estimator(matrix).values_B for name, estimator in ESTIMATORS.items()}
        for name, values_B in found.items():
            groups = [values_B[matrix.group_ids_B == group] for group in matrix.group_ids_B.unique()]
            distinct[name].append(sum(len(_rounded(group).unique()) for group in groups) / len(groups))
        difference_B = (found["gdpo"] - found["quantised-gdpo"]).abs()
        moved.append(float((difference_B > 1e-3).double().mean()))
        apart.append(float(difference_B.square().mean().sqrt() / found["gdpo"].square().mean().sqrt()))
    means = {f"distinct, {name}": sum(counts) / len(counts) for name, counts in distinct.items()}
    return {**means, "moved": sum(moved) / len(moved), "apart": sum(apart) / len(apart)}


def _rounded(values: torch.Tensor) -> torch.Tensor:
    return (values * 1e6).round()


def main() -> None:
    """Writes the figures."""
    found = {case: {key: round(one, 4) for key, one in figures(*of).items()} for case, of in CASES.items()}
    (HERE / "distinct.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
