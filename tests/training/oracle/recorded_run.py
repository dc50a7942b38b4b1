"""A small run of `morl.train` that notes its completions; also a script, so that it can be run on two processes."""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from plain_setup import FAILED, Group, Setup

from morl import Completion, RewardEntry, hookimpl, train
from morl.types import RolloutBatch

PROMPTS = 4
GROUP = 4
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 "
STOP = ("e", "t", " ", "s", "12")
"""Texts that end a completion, so that an untrained policy writes completions of all lengths."""


class TokenReward:
    """A reward of the token ids alone, missing, failing or rarely earned as asked; notes what it was shown."""

    def __init__(self, modulus: int, *, missing: int = 0, failing: int = 0, rare: int = 0) -> None:
        self.modulus, self.missing, self.failing, self.rare = modulus, missing, failing, rare
        self.seen: list[Completion] = []

    def of(self, ids: Sequence[int]) -> float | str | None:
        total = sum(ids)
        if self.failing and total % self.failing == 0:
            return FAILED
        if self.missing and total % self.missing == 0:
            return None
        if self.rare:
            return float(total % (self.rare + self.modulus) == 0)
        return float(total % self.modulus) / 2

    def score(self, completions: Sequence[Completion]) -> list[Any]:
        self.seen += completions
        scores = [self.of(completion.token_ids) for completion in completions]
        return [ValueError("no score") if score == FAILED else score for score in scores]


def cut_at(max_tokens: int) -> Callable[[Sequence[int]], bool]:
    """Whether a completion ended because of the limit: at its length, without a text or token that ends one."""

    def cut(ids: Sequence[int]) -> bool:
        text = "".join(LETTERS[token - 2] for token in ids if token > 1)
        return len(ids) == max_tokens and 0 not in ids and not any(stop in text for stop in STOP)

    return cut


def rewards_of(*, rare: int = 0, **exceptions: int) -> dict[str, TokenReward]:
    """Two rewards, the first of them with these exceptions."""
    return {"first": TokenReward(3, rare=rare, **exceptions), "second": TokenReward(4, rare=rare)}


class Recorder:
    """Keeps the groups of every step."""

    def __init__(self) -> None:
        self.steps: dict[int, list[Group]] = defaultdict(list)

    @hookimpl
    def morl_rollouts_ready(self, step: int, rollouts: RolloutBatch) -> None:
        rows = [list(completion.token_ids) for completion in rollouts.completions()]
        for number, prompt in enumerate(rollouts.prompts):
            members = [ids for ids, group in zip(rows, rollouts.group_ids_B.tolist(), strict=True) if group == number]
            self.steps[step].append((list(prompt.token_ids), members))


def estimator_of(setup: Setup) -> dict[str, Any]:
    """The estimator's section of the config."""
    weighting: dict[str, Any] = {"name": setup.weighting}
    if setup.weighting == "schedule":
        course = {"shape": "linear", "start": 2.0, "end": 0.5, "steps": 2}
        weighting["rewards"] = dict.fromkeys(setup.rewards, course)
    section: dict[str, Any] = {"name": setup.estimator, "weighting": weighting}
    if setup.condition is not None:
        limited, on, at_least = setup.condition
        section |= {"name": f"conditioned-{setup.estimator}", "conditions": {limited: {"on": on, "at_least": at_least}}}
    return section


def config_of(setup: Setup, model: Path, prompts: Path, output: Path) -> dict[str, Any]:
    """The same setup as a config of morl."""
    loss: dict[str, Any] = {
        "name": setup.loss,
        "aggregation": setup.aggregation,
        "kl_coef": setup.kl_coef,
        "off_policy_threshold": setup.off_policy_threshold,
        "top_entropy": setup.top_entropy,
        **setup.options,
    }
    if setup.kl_coef:
        loss |= {"kl_estimator": setup.kl_estimator, "kl_unbiased": setup.kl_unbiased}
    if setup.loss in ("clipped", "gspo", "gspo-token", "luspo"):
        loss |= {"clip_low": setup.clip_low, "clip_high": setup.clip_high}
    importance: dict[str, Any] = {"correction": setup.correction or "none"}
    if setup.correction in ("truncated", "masked"):
        importance |= {"level": setup.level, "high": setup.high}
    if setup.correction == "masked":
        importance["low"] = setup.low
    return {
        "seed": setup.seed,
        "output": str(output),
        "policy": {
            "path": str(model),
            "lora": {"rank": setup.lora_rank, "alpha": setup.lora_alpha} if setup.lora_rank else None,
        },
        "prompts": {"path": str(prompts)},
        "estimator": estimator_of(setup),
        "rollout": {"lag": setup.lag},
        "sampling": {
            "temperature": setup.temperature,
            "max_tokens": setup.max_tokens,
            "stop": list(STOP),
            "overrides_column": "drawn" if setup.own_temperatures else None,
        },
        "importance": importance,
        "loss": loss,
        "entropy": {"coef": setup.entropy_coef, "target": setup.entropy_target, "delta": setup.entropy_delta or None},
        "reference": {"sync_every": setup.sync_every, "mixup": setup.mixup},
        "optimizer": {
            "lr": setup.lr,
            "betas": list(setup.betas),
            "eps": setup.eps,
            "weight_decay": setup.weight_decay,
            "max_grad_norm": setup.max_grad_norm,
            "schedule": setup.schedule,
            "warmup_steps": setup.warmup_steps,
        },
        "training": {
            "steps": setup.steps,
            "prompts_per_step": PROMPTS,
            "group_size": GROUP,
            "mini_batches": setup.mini_batches,
            "inner_epochs": setup.inner_epochs,
            "recompute_logprobs": setup.recompute,
            "mask_truncated": setup.mask_truncated,
            "dynamic_sampling_rounds": 2 if setup.dynamic else 0,
            "micro_batch_tokens": 40,  # several micro-batches to every mini-batch
            "checkpoint_every": 0,
            "samples_every": 0,
        },
        "trainer": {"accelerator": "cpu", "devices": 1, "progress": False},
    }


def recorded_train(
    config: Mapping[str, Any], rewards: Mapping[str, TokenReward], weights: Mapping[str, float], on_failure: str
) -> tuple[Any, list[list[Group]]]:
    """A run, and the groups of every step."""
    recorder = Recorder()
    entries = {
        name: RewardEntry(reward, weight=weights.get(name, 1.0), on_failure=on_failure)  # type: ignore[arg-type]
        for name, reward in rewards.items()
    }
    result = train(config, rewards=entries, plugins=[recorder])
    return result, [recorder.steps[step] for step in range(len(recorder.steps))]


if __name__ == "__main__":  # every rank runs this script
    folder = Path(sys.argv[1])
    given = json.loads((folder / "run.json").read_text())
    _, steps = recorded_train(given["config"], rewards_of(**given["exceptions"]), given["weights"], given["on_failure"])
    (folder / f"rank-{os.environ.get('LOCAL_RANK', '0')}.json").write_text(json.dumps(steps))
