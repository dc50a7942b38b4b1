"""How long an estimator takes on a large rollout batch.

    python benchmarks/estimators.py --completions 65536 --rewards 8 --group-size 8

Times the estimator alone, on a reward matrix that is already there, on one thread.  CPU time is what a core of its own
would need; wall clock adds what other processes took of it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from attrs import evolve
from rich.console import Console
from rich.table import Table

from morl.advantage import GDPO, GRPO, Conditioned, GRPONoStd, ScheduleWeighting
from morl.types import Advantages, RewardMatrix
from morl_estimators import CTWA, DARA, DVAO, GD2PO, RLOO, SAMRPO, SAW, CorrGRPO, Lagrangian, MaxRL, ReinforcePlusPlus

Estimator = Callable[[RewardMatrix], Advantages]


def reward_matrix(completions: int, rewards: int, group_size: int, *, shuffled: bool) -> RewardMatrix:
    """Standard normal rewards, float32, a tenth of them missing."""
    random = torch.Generator().manual_seed(0)
    values = torch.randn(completions, rewards, generator=random)
    values[torch.rand(values.shape, generator=random) < 0.1] = torch.nan
    group_ids = torch.arange(completions) // group_size
    if shuffled:
        group_ids = group_ids[torch.randperm(completions, generator=random)]
    names = tuple(f"r{k}" for k in range(rewards))
    lengths = torch.full((completions,), 100)
    return RewardMatrix(values, group_ids, names, lengths_B=lengths, bounds=dict.fromkeys(names, (-9.0, 9.0)))


def median_milliseconds(estimator: Estimator, rewards: RewardMatrix, repeats: int) -> tuple[float, float]:
    """CPU time and wall clock; two calls that are not counted go first."""
    cpu, wall = [], []
    for _ in range(repeats + 2):
        start_cpu, start_wall = time.process_time(), time.perf_counter()
        estimator(rewards)
        cpu.append(1e3 * (time.process_time() - start_cpu))
        wall.append(1e3 * (time.perf_counter() - start_wall))
    return statistics.median(cpu[2:]), statistics.median(wall[2:])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=65_536, help="B")
    parser.add_argument("--rewards", type=int, default=8, help="K, at least 2")
    parser.add_argument("--group-size", type=int, nargs="+", default=[4, 8, 16], help="G; several make several tables")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)

    estimators: dict[str, Estimator] = {
        "grpo": GRPO(),
        "grpo-no-std": GRPONoStd(),
        "gdpo": GDPO(),
        "gdpo, schedule": GDPO(weighting=ScheduleWeighting({"r1": {"shape": "piecewise", "points": {0: 0.5}}})),
        "gdpo, dvao": GDPO(weighting=DVAO()),
        "gdpo, sa-mrpo": GDPO(weighting=SAMRPO()),
        "gdpo, dara": GDPO(weighting=DARA()),
        "gdpo, dara sym": GDPO(weighting=DARA(form="sym")),
        "gdpo, saw": GDPO(weighting=SAW()),
        "gdpo, lagrangian": GDPO(weighting=Lagrangian({"r1": {"at_least": 1.0}}, start=1.0)),
        "gdpo, ctwa": GDPO(weighting=CTWA({"r1": 0.5})),
        "rloo": RLOO(),
        "reinforce++": ReinforcePlusPlus(),
        "corr-grpo": CorrGRPO(),
        "gd2po": GD2PO(),
        "maxrl, of squares": lambda rewards: MaxRL()(evolve(rewards, values_BK=rewards.values_BK.square())),
        "conditioned-gdpo": Conditioned(GDPO(), {"r1": {"on": "r0", "at_least": 0.0}}),
    }
    for group_size in options.group_size:
        table = Table(title=f"B = {options.completions}, K = {options.rewards}, G = {group_size}; median ms")
        table.add_column("estimator")
        for heading in ("CPU", "wall", "CPU, rows shuffled", "wall, rows shuffled"):
            table.add_column(heading, justify="right")
        matrices = [
            reward_matrix(options.completions, options.rewards, group_size, shuffled=shuffled)
            for shuffled in (False, True)
        ]
        for name, estimator in estimators.items():
            times = [ms for rewards in matrices for ms in median_milliseconds(estimator, rewards, options.repeats)]
            table.add_row(name, *(f"{ms:.1f}" for ms in times))
        Console().print(table)


if __name__ == "__main__":
    main()
