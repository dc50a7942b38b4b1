"""Trains a tiny model with TRL's own advantages and with morl's, on one rank or two: `trl_run.py MODEL OUT NAME ..`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import AutoTokenizer, set_seed
from trl import GRPOConfig, GRPOTrainer

from morl.integrations import estimator
from morl.integrations.trl import with_estimator

PROMPTS = ["the answer is", "a number: 1 2", "yes no", "is the number"]
ESTIMATORS = {
    "grpo": estimator("grpo", preset="trl"),
    "grpo-batch": estimator("grpo", preset="trl", scale="batch"),
    "gdpo": estimator("gdpo", preset="trl"),
    "gdpo-again": estimator("gdpo", preset="trl"),
    "conditioned": estimator("gdpo", conditions={"spread": {"on": "even", "at_least": 0.5}}),
}
OWN = {
    "grpo": {},
    "grpo-batch": {"scale_rewards": "batch"},
    "gdpo": {"multi_objective_aggregation": "normalize_then_sum"},
    "gdpo-again": {"multi_objective_aggregation": "normalize_then_sum"},
}
SETTINGS = {
    # Each batch is used twice, in parts of one group, so that advantages of one batch are taken from a buffer.
    "gdpo-again": {"per_device_train_batch_size": 4, "steps_per_generation": 3, "num_iterations": 2, "max_steps": 7},
}


def even(completion_ids: Any, **_: Any) -> list[float]:
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def spread(completion_ids: Any, **_: Any) -> list[float | None]:
    """Missing for some."""
    return [None if ids[0] % 5 == 0 else float(sum(ids) % 4) for ids in completion_ids]


def settings(out: str, **more: Any) -> GRPOConfig:
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    # 4 completions of each of 3 prompts; with two ranks a group is split between them.
    usual = {"reward_weights": [1.0, 0.5], "max_steps": 3, "per_device_train_batch_size": 12 // ranks}
    more = {**usual, "save_strategy": "no", **more}
    return GRPOConfig(
        output_dir=out,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        seed=3,
        shuffle_dataset=False,
        per_device_eval_batch_size=16 // ranks,
        num_generations=4,
        max_completion_length=8,
        beta=0.0,
        # Not Adam, whose steps are as large for a gradient of rounding errors as for any other.
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        **more,
    )


def trainer(model: str, out: str, kind: str, name: str, **more: Any) -> GRPOTrainer:
    set_seed(3)
    made = GRPOTrainer if kind == "own" else with_estimator(GRPOTrainer, ESTIMATORS[name])
    return built(made, model, out, **(OWN[name] if kind == "own" else {}), **SETTINGS.get(name, {}), **more)


def built(made: type[Any], model: str, out: str, rewards: Any = (even, spread), **more: Any) -> GRPOTrainer:
    return made(
        model=model,
        args=settings(out, **more),
        reward_funcs=list(rewards),
        eval_dataset=Dataset(InMemoryTable.from_pydict({"prompt": PROMPTS}), fingerprint="held out"),
        # A name of its own for the table: what `datasets` makes up by pickling fails with some versions of pyarrow.
        train_dataset=Dataset(InMemoryTable.from_pydict({"prompt": PROMPTS * 6}), fingerprint="prompts"),
        processing_class=AutoTokenizer.from_pretrained(model),
    )


def trained(model: str, out: str, kind: str, name: str) -> tuple[dict[str, torch.Tensor], float]:
    """The weights after training, and how far they moved."""
    running = trainer(model, out, kind, name)
    before = {key: value.clone() for key, value in running.model.state_dict().items()}
    running.train()
    after = running.accelerator.unwrap_model(running.model).state_dict()
    return after, max(float((after[key] - before[key]).abs().max()) for key in before)


def gaps(model: str, out: str, *names: str) -> dict[str, tuple[float, float]]:
    """How far the weights end from TRL's own, and how far those moved."""
    found = {}
    for name in names:
        (own, moved), (morl, _) = trained(model, out, "own", name), trained(model, out, "morl", name)
        found[name] = (max(float((own[key] - morl[key]).abs().max()) for key in own), moved)
    return found


if __name__ == "__main__":
    answer = gaps(*sys.argv[1:])
    if os.environ.get("RANK", "0") == "0":
        print("GAPS", json.dumps(answer))
