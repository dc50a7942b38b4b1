"""Two processes share a run, and end where the plain update of the whole of it ends."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import forks
import pytest
import torch
from plain_sampling import ROUNDING, misses, training_uniforms
from plain_setup import Setup
from plain_update import distance, plain_run
from recorded_run import config_of, cut_at, rewards_of
from transformers import AutoModelForCausalLM

CLOSE = 1e-5
EXCEPTIONS = {"missing": 5, "failing": 3}


def double(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).requires_grad_(False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("ddp", {"on_failure": "drop", "aggregation": "sequence-mean", "kl_coef": 0.3}),
        ("fsdp2", {"on_failure": "abstain", "recompute": True, "kl_coef": 0.3, "loss": "gspo-token", "clip_low": 0.02}),
        ("ddp", {"on_failure": "zero", "lag": 1, "correction": "truncated", "level": "sequence", "high": 1.05}),
        (
            "ddp",
            {
                "on_failure": "drop",
                "top_entropy": 0.4,
                "entropy_coef": 0.2,
                "entropy_target": 3.0,
                "entropy_delta": 0.1,
                "kl_coef": 0.3,
                "kl_estimator": "k1",
                "sync_every": 1,
                "mixup": 0.5,
                "mask_truncated": True,
            },
        ),
    ],
    ids=["ddp", "fsdp2", "ddp-lag", "ddp-options"],
)
def test_two_processes_end_where_the_plain_update_ends(strategy, options, small_model, few_prompts, tmp_path):
    rewards = rewards_of(**EXCEPTIONS)
    plain = Setup(rewards={name: reward.of for name, reward in rewards.items()}, weights={"second": 0.3}, **options)
    plain = replace(plain, cut=cut_at(plain.max_tokens))
    config = config_of(plain, small_model, few_prompts, tmp_path / "run")
    config["trainer"] |= {"devices": 2, "strategy": strategy}
    config["training"]["samples_every"] = 1
    run = {"config": config, "exceptions": EXCEPTIONS, "weights": plain.weights, "on_failure": plain.on_failure}
    (tmp_path / "run.json").write_text(json.dumps(run))
    script = Path(__file__).with_name("recorded_run.py")
    done = forks.run([script, tmp_path], tmp_path, ranks=2)
    assert done.returncode == 0, done.output
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    rollouts = [first + second for first, second in zip(*ranks, strict=True)]

    model = double(small_model).requires_grad_(True)
    expected, history = plain_run(plain, model, rollouts)
    apart = distance(expected, dict(double(tmp_path / "run" / "model").named_parameters()))
    moved = distance(expected, dict(double(small_model).named_parameters()))
    assert apart < CLOSE * moved
    with (tmp_path / "run" / "logs" / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["loss"]]
    for row, figures in zip(rows, history, strict=True):
        assert {name: float(row[name]) for name in figures} == pytest.approx(figures, rel=1e-4, abs=1e-5)
    for position, (prompt, completions) in enumerate(rollouts[0]):
        for member, ids in enumerate(completions):
            uniforms = training_uniforms(plain.seed, position, member, len(ids))
            assert max(misses(double(small_model), prompt, ids, uniforms, temperature=plain.temperature)) < ROUNDING
    with (tmp_path / "run" / "samples" / "step-000001.jsonl").open() as file:
        groups = [json.loads(line)["group"] for line in file]
    assert groups == [place for place, (_, completions) in enumerate(rollouts[0]) for _ in completions], "of both ranks"
