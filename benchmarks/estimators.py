"""How long an estimator takes on a large rollout batch.

    python benchmarks/estimators.py --completions 65536 --rewards 8 --group-size 8

Times the estimator alone, on a reward matrix that is already there, on one thread.  CPU time is what a core of its own
would need, if others did not take its caches; wall clock adds what they took of the core.  What does not depend on the
machine or on who else is busy is the last column: the CPU time in units of the ten lines of the textbook's gdpo, which
knows no missing reward and sums as it comes, called alternately with the estimator.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from attrs import evolve, frozen
from rich.console import Console
from rich.table import Table

from morl.advantage import GDPO, GRPO, Conditioned, GRPONoStd, ScheduleWeighting
from morl.advantage.gdpo import textbook_gdpo
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


@frozen
class Times:
    """Medians: CPU time and wall clock in ms, and the CPU time as a multiple of the textbook's."""

    cpu: float
    wall: float
    multiple: float


def measured(estimator: Estimator, rewards: RewardMatrix, group_size: int, repeats: int) -> Times:
    """Of calls that alternate with the textbook's gdpo; two that are not counted go first."""
    values_PGK = rewards.values_BK.nan_to_num().double().reshape(-1, group_size, len(rewards.names))
    weights_K = torch.ones(len(rewards.names), dtype=torch.float64)
    cpu, wall, multiples = [], [], []
    for _ in range(repeats + 2):
        start_cpu, start_wall = time.process_time(), time.perf_counter()
        estimator(rewards)
        cpu.append(1e3 * (time.process_time() - start_cpu))
        wall.append(1e3 * (time.perf_counter() - start_wall))
        start_cpu = time.process_time()
        textbook_gdpo(values_PGK, weights_K)
        multiples.append(cpu[-1] / (1e3 * (time.process_time() - start_cpu)))
    return Times(*(statistics.median(values[2:]) for values in (cpu, wall, multiples)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, nargs="+", default=[65_536], help="B; several make several tables")
    parser.add_argument("--rewards", type=int, default=8, help="K, at least 2")
    parser.add_argument("--group-size", type=int, nargs="+", default=[4, 8, 16], help="G; several make several tables")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--only", nargs="*", help="estimators, by the names of the table; default: all")
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
    if unknown := {*(options.only or ())} - {*estimators}:
        parser.error(f"no estimator {', '.join(sorted(unknown))}; there are: {', '.join(estimators)}")
    estimators = {name: made for name, made in estimators.items() if not options.only or name in options.only}
    for completions in options.completions:
        for group_size in options.group_size:
            Console().print(_table(estimators, completions, options.rewards, group_size, options.repeats))


def _table(estimators: Mapping[str, Estimator], completions: int, rewards: int, group_size: int, repeats: int) -> Table:
    table = Table(title=f"B = {completions}, K = {rewards}, G = {group_size}; medians in ms")
    table.add_column("estimator")
    for heading in ("CPU", "wall", "CPU, rows shuffled", "CPU, times the textbook's"):
        table.add_column(heading, justify="right")
    ordered, shuffled = (reward_matrix(completions, rewards, group_size, shuffled=each) for each in (False, True))
    for name, estimator in estimators.items():
        one, other = (measured(estimator, matrix, group_size, repeats) for matrix in (ordered, shuffled))
        table.add_row(name, *(f"{ms:.1f}" for ms in (one.cpu, one.wall, other.cpu, one.multiple)))
    return table


if __name__ == "__main__":
    main()
