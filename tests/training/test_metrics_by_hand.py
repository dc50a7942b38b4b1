"""Every number of a run that follows from its samples, computed from the files with numpy alone."""

from __future__ import annotations

import csv
import itertools
import json
import math

import numpy as np
import pytest

from morl import train

OF_THE_UPDATE = ("loss", "policy/", "rollout/", "importance/", "optimizer/", "time/", "step")
"""What does not follow from the samples; `oracle` computes the update a second time."""
NAN = math.nan


def by_hand(samples, bounds, weights):
    """Name -> value of one step."""
    found, rewards = {}, list(samples[0]["rewards"])
    groups = np.array([row["group"] for row in samples])
    of = {name: np.array([NAN if (x := row["rewards"][name]) is None else x for row in samples]) for name in rewards}
    seen = {
        name: np.array([NAN if (x := {**row["rewards"], **row["conditioned"]}[name]) is None else x for row in samples])
        for name in rewards
    }
    parts = {name: np.array([row["contributions"][name] for row in samples]) for name in rewards}
    advantages = np.array([row["advantage"] for row in samples])
    numbers = np.unique(groups)

    def of_groups(column):
        return [there[~np.isnan(there)] for there in (column[groups == number] for number in numbers)]

    def dead(column):
        return np.mean([not len(own) or own.min() == own.max() for own in of_groups(column)])

    for name, column in of.items():
        there = column[~np.isnan(column)]
        low, high = bounds.get(name) or ((there.min(), there.max()) if there.min() < there.max() else (0.0, 1.0))
        head, own = f"reward/{name}", of_groups(column)
        found |= {
            f"{head}/mean": there.mean(),
            f"{head}/std": there.std(ddof=1),
            f"{head}/min": there.min(),
            f"{head}/max": there.max(),
            f"{head}/dead_groups": dead(column),
            f"{head}/groups_mixed": 1 - dead(column),
            f"{head}/groups_all_low": np.mean([len(g) > 0 and bool((g == low).all()) for g in own]),
            f"{head}/groups_all_high": np.mean([len(g) > 0 and bool((g == high).all()) for g in own]),
            f"{head}/reached": np.mean([bool((g == high).any()) for g in own]),
            f"{head}/failed": np.mean([name in row["failed"] for row in samples]),
            f"{head}/missing": np.mean(np.isnan(column)),
            f"{head}/advantage_share": (parts[name] * advantages).mean() / (advantages**2).mean(),
        }
        if name in bounds:
            found[f"{head}/saturation"] = (there.mean() - low) / (high - low)
        counts = np.histogram(there, bins=5, range=(low, high))[0] / len(there)
        found |= {f"{head}/histogram/{fifth}": count for fifth, count in enumerate(counts, start=1)}
    for first, second in itertools.combinations(rewards, 2):
        both = ~np.isnan(of[first]) & ~np.isnan(of[second])
        found[f"reward_correlation/{first}~{second}"] = np.corrcoef(of[first][both], of[second][both])[0, 1]
        shared = (parts[first] * parts[second]).mean() / (advantages**2).mean()
        found[f"contribution_covariance/{first}~{second}"] = shared
    varies = np.array([[own.size > 0 and own.min() < own.max() for own in of_groups(seen[name])] for name in rewards])
    signal = varies[[weights[name] != 0 for name in rewards]].any(0)
    learned = np.array([bool((advantages[groups == number] != 0).any()) for number in numbers])
    tokens = np.array([row["tokens"] for row in samples])
    brief = seen["short"][~np.isnan(seen["short"])]
    return found | {
        "reward/distinct_combinations": len({tuple(row["rewards"].values()) for row in samples}),
        "reward/short/counted": np.mean([row["rewards"]["vowel"] >= 1 for row in samples]),
        "reward/short/conditioned_mean": brief.mean(),
        "reward/short/conditioned_std": brief.std(ddof=1),
        "reward/short/conditioned_dead_groups": dead(seen["short"]),
        "advantage/distinct": len(np.unique(advantages.round(9))),
        "advantage/std": math.sqrt((advantages**2).mean()),
        "advantage/max_abs": np.abs(advantages).max(),
        "groups/with_signal": signal.mean(),
        "groups/cancelled": (signal & ~learned).mean(),
        "groups/kept": 1.0,
        "completions/length_mean": tokens.mean(),
        "completions/length_max": tokens.max(),
        "completions/truncated": np.mean([row["truncated"] for row in samples]),
        "completions/dropped": 0.0,
    }


def test_every_number_that_follows_from_the_samples_follows_from_them(settings, tmp_path):
    path = tmp_path / "scores.py"
    path.write_text(
        "def score(prompts, completions, answer, **columns):\n"
        "    (number,), (text,) = map(int, answer), completions\n"
        "    if number % 5 == 0:\n        raise ValueError(number)\n"
        "    return [None if number % 5 == 1 else float(len(text) % 3)]\n"
    )
    rewards = {
        "short": {"name": "length", "limit": 12},
        "vowel": {"name": "regex", "pattern": "[aeiou]", "weight": 0.5},
        "picky": {"name": "python", "function": f"{path}:score", "batched": False, "bounds": [0, 4]},
    }
    estimator = {"name": "conditioned-gdpo", "conditions": {"short": {"on": "vowel"}}}
    run = {"training.steps": 2, "training.samples_every": 1, "sampling.max_tokens": 20, "sampling.stop": ["e", "n"]}
    result = train(settings({**run, "rewards": rewards, "estimator": estimator}))
    with (result.folder / "logs" / "metrics.csv").open(newline="") as file:
        logged = {int(row["step"]): row for row in csv.DictReader(file)}
    for step, row in logged.items():
        lines = (result.folder / "samples" / f"step-{step:06d}.jsonl").read_text(encoding="utf-8").splitlines()
        samples = [json.loads(line) for line in lines]
        expected = by_hand(samples, samples[0]["bounds"], samples[0]["weights"])
        left = {name for name in row if not name.startswith(OF_THE_UPDATE) and not math.isnan(float(row[name] or NAN))}
        assert left == {name for name, value in expected.items() if not math.isnan(value)}
        for name in left:
            assert float(row[name]) == pytest.approx(expected[name], rel=1e-6, abs=1e-9), name
    assert {"reward_correlation/short~picky", "reward/picky/saturation", "reward/short/counted"} <= left
