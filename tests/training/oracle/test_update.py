"""Runs of `morl.train` end where a plain rendering of the whole update ends, and say the same on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain_setup import Setup
from plain_update import distance, plain_run
from recorded_run import config_of, cut_at, recorded_train, rewards_of
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

CLOSE = 1e-5
"""Distance that is allowed, relative to the distance moved.

morl computes in float32 and the plain rendering in float64, so what is seen is morl's rounding, up to 1e-6 here:
storing the weights 12 times moves them by 3e-8 of their size each time, and they move by a third of it.  Adam divides
by the size of a gradient, which would turn the rounding of a gradient near 0 into whole steps; `eps` is as large as
the gradients are, so that it cannot.
"""


def setup(weights=None, exceptions=None, **options):
    return {"weights": weights or {"second": 0.3}, "exceptions": exceptions or {}, **options}


CISPO = {"min_ratio": 0.95, "max_ratio": 1.05}
SETUPS = {
    "gdpo": setup(),
    "whole-batch": setup(
        mini_batches=1, temperature=1.0, schedule="constant", warmup_steps=0, max_grad_norm=0.0, eps=0.1
    ),
    "conditioned": setup(condition=("second", "first", 1.0), exceptions={"missing": 4}),
    "schedule-grpo": setup(weighting="schedule", estimator="grpo-no-std", steps=4),
    "conditioned-dvao": setup(condition=("second", "first", 1.0), weighting="dvao"),
    "grpo-k3": setup(estimator="grpo", aggregation="sequence-mean", kl_coef=0.3, schedule="cosine"),
    "k2": setup(kl_coef=0.5, kl_estimator="k2", aggregation="dr-grpo", estimator="grpo-no-std"),
    "lora-k3": setup(lora_rank=2, kl_coef=0.5, aggregation="sequence-mean"),
    "recomputed": setup(recompute=True, aggregation="dr-grpo", weights={"first": 2.0, "second": -1.0}),
    "captured": setup(recompute=True, mini_batches=1, estimator="grpo"),
    "missing": setup(exceptions={"missing": 3, "failing": 5}, warmup_steps=2),
    "missing-grpo": setup(exceptions={"missing": 3, "failing": 5}, on_failure="zero", estimator="grpo"),
    "dropped": setup(exceptions={"failing": 3}, on_failure="drop", aggregation="sequence-mean"),
    "dropped-dr-grpo": setup(exceptions={"failing": 3}, on_failure="drop", aggregation="dr-grpo", estimator="grpo"),
    "dynamic": setup(exceptions={"rare": 4}, dynamic=True, mini_batches=1),
    "lag": setup(lag=1, steps=4),
    "lag-truncated": setup(lag=1, steps=4, correction="truncated", high=1.02),
    "lag-masked": setup(lag=2, steps=4, correction="masked", low=0.97, high=1.05, mini_batches=1),
    "lag-sequence": setup(lag=1, steps=4, correction="truncated", level="sequence", high=1.05, kl_coef=0.3),
    "two-sided": setup(clip_low=0.05, clip_high=None, options={"delta": 1.1}, kl_coef=0.3, kl_estimator="k1"),
    "unbiased": setup(kl_coef=0.3, kl_unbiased=True, recompute=True, off_policy_threshold=0.02),
    "unbiased-k1": setup(kl_coef=0.3, kl_unbiased=True, kl_estimator="k1", aggregation="sequence-sum"),
    "top-entropy": setup(top_entropy=0.4, kl_coef=0.3, exceptions={"failing": 5}, on_failure="drop"),
    "top-entropy-recomputed": setup(top_entropy=0.2, recompute=True, mini_batches=1, loss="cispo", options=CISPO),
    "gspo": setup(loss="gspo", aggregation="sequence-mean", clip_low=0.02, clip_high=0.03),
    "gspo-token": setup(loss="gspo-token", clip_low=0.02, clip_high=None, kl_coef=0.1, recompute=True),
    "luspo": setup(loss="luspo", aggregation="sequence-sum", clip_low=0.02, options={"delta": 1.2}),
    "cispo": setup(loss="cispo", options=CISPO, lag=1, steps=4, correction="truncated", high=1.02),
    "sapo": setup(
        loss="sapo", aggregation="sequence-mean", options={"temperature_positive": 2.0, "temperature_negative": 5.0}
    ),
    "vespo": setup(loss="vespo", estimator="grpo"),
    "lag-vespo": setup(loss="vespo", lag=1, steps=4, correction="auto", kl_coef=0.1),
    "synced": setup(kl_coef=0.5, sync_every=2, mixup=0.6, steps=4, kl_estimator="k2"),
    "moving-average": setup(kl_coef=0.5, sync_every=1, mixup=0.1, lag=1, steps=4),
    "entropy": setup(entropy_coef=0.3, aggregation="sequence-mean", exceptions={"failing": 5}, on_failure="drop"),
    "entropy-target": setup(entropy_coef=0.3, entropy_target=2.9, entropy_delta=0.2, top_entropy=0.5, steps=5),
    "own-temperatures": setup(own_temperatures=True, kl_coef=0.3, entropy_coef=0.2, recompute=True),
    "lag-own-temperatures": setup(own_temperatures=True, lag=1, steps=4, correction="truncated", top_entropy=0.5),
    "truncated": setup(mask_truncated=True, aggregation="dr-grpo", max_tokens=4),
    "truncated-statistics": setup(mask_truncated="statistics", max_tokens=4, estimator="grpo", entropy_coef=0.1),
    "lag-lora": setup(lag=1, steps=4, correction="masked", level="sequence", low=0.9, high=1.1, lora_rank=2),
}


def double(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)


def weights_in(folder: Path, lora: bool):
    if lora:
        return load_file(folder / "adapter" / "adapter_model.safetensors")
    return dict(double(folder).requires_grad_(False).named_parameters())


@pytest.mark.parametrize("name", SETUPS)
def test_a_run_ends_where_the_plain_update_ends(name, small_model, few_prompts, tmp_path, rows_of):
    options = dict(SETUPS[name])
    rewards = rewards_of(**options.pop("exceptions"))
    plain = Setup(rewards={reward: given.of for reward, given in rewards.items()}, **options)
    plain = replace(plain, cut=cut_at(plain.max_tokens))
    lora = plain.lora_rank > 0
    initial = weights_in(small_model, lora=False)
    if lora:  # a run that learns nothing leaves its adapters as they began
        still = config_of(replace(plain, lr=0.0, steps=1, warmup_steps=0), small_model, few_prompts, tmp_path / "still")
        still_result, _ = recorded_train(still, rewards, plain.weights, plain.on_failure)
        initial = weights_in(still_result.model, lora)
    config = config_of(plain, small_model, few_prompts, tmp_path / "run")
    result, rollouts = recorded_train(config, rewards, plain.weights, plain.on_failure)

    expected, history = plain_run(plain, double(small_model), rollouts, initial if lora else None)
    reached = weights_in(result.model, lora)
    moved = distance(initial, expected)
    assert moved > 0.1
    assert distance(expected, reached) < CLOSE * moved
    for row, figures in zip(rows_of(result), history, strict=True):
        logged = {metric: float(row[metric]) for metric in figures}
        # Seen with PyTorch's plain kernels: 1.4e-6 of 0.12, of VESPO, whose weights are powers of ratios.
        assert logged == pytest.approx(figures, rel=2e-4, abs=2e-5, nan_ok=True)
