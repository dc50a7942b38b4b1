"""`morl estimators`: advantages beside those of other trainers."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from attrs import evolve

from morl.console import Parser, wants_help
from morl.errors import ConfigError
from morl.integrations.comparison import ESTIMATORS, compared, logged_rewards, random_rewards, table

HELP = """\
usage: morl estimators compare [RUN] [options]

Prints the advantages of an estimator of morl beside those that it gives with the presets of other trainers: on the last
samples of the run folder RUN, or on a random batch. Weights are those of the run, on a random batch 1, unless given.

options:
  --estimator=NAME       gdpo (default), grpo or grpo-no-std
  --weights=NAME=W[,..]  weights of the rewards
  --rows=N               completions to print; 8 by default
  --prompts=N --group-size=N --rewards=N --seed=N
                         of the random batch; 4, 8, 2 and 0 by default
"""


def _natural(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number >= 1, got {text!r}")
    return int(text)


def _weights(text: str) -> dict[str, float]:
    pairs = [part.rpartition("=") for part in text.split(",")]
    try:
        found = {name: float(weight) for name, _, weight in pairs}
    except ValueError:
        found = {}
    if not found or "" in found or not all(map(math.isfinite, found.values())):
        raise argparse.ArgumentTypeError(f"expected NAME=WEIGHT, .., got {text!r}")
    return found


def estimators(arguments: list[str]) -> int:
    """Prints the comparison."""
    if wants_help(arguments) or not arguments:
        print(HELP, end="")
        return 0
    parser = Parser("estimators")
    parser.add_argument("action", choices=["compare"])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--estimator", choices=[*ESTIMATORS], default="gdpo")
    parser.add_argument("--weights", type=_weights, default={})
    parser.add_argument("--rows", type=_natural, default=8)
    sizes = {"prompts": 4, "group_size": 8, "rewards": 2}
    for name in sizes:
        parser.add_argument(f"--{name.replace('_', '-')}", type=_natural)
    parser.add_argument("--seed", type=int)
    given = parser.parse_args(arguments)
    chosen = {name: getattr(given, name) for name in (*sizes, "seed") if getattr(given, name) is not None}
    if given.run is not None:
        if chosen:
            raise ConfigError(
                f"--{next(iter(chosen)).replace('_', '-')} is of a random batch; RUN has rewards of its own"
            )
        rewards = logged_rewards(given.run, given.weights)
    else:
        if given.group_size == 1:
            raise ConfigError(f"{given.estimator} compares the completions of a prompt: --group-size must be >= 2")
        rewards = random_rewards(**{**sizes, "seed": 0, **chosen})
        rewards = evolve(rewards, weights=given.weights)
    print(table(compared(given.estimator, rewards), rewards, given.rows))
    if given.run is not None:
        weights = zip(rewards.names, rewards.weights_K.tolist(), strict=True)
        print(f"weights: {', '.join(f'{name} {weight:g}' for name, weight in weights)}")
    return 0
