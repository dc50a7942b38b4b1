"""The settings that people use, as `morl train --help` lists them: the others are in its sections."""

from __future__ import annotations

from collections.abc import Mapping

COMMON: Mapping[str, Mapping[str, str]] = {
    "model": {
        "policy.path": "model folder, or name on the Hugging Face hub",
        "policy.dtype": "of the weights",
        "policy.lora": "train low-rank adapters, e.g. {rank: 16}",
        "policy.gradient_checkpointing": "less memory, a slower update",
    },
    "data": {
        "prompts.name": "where prompts come from",
        "prompts.path": "of the file, or of the data set on the hub",
        "prompts.prompt": "column with the prompt",
        "prompts.chat": "send a text prompt as a chat message",
        "prompts.system": "system message",
        "prompts.max_prompt_tokens": "longest prompt; null: what the context holds",
        "environment.name": "tools or games, between turns",
    },
    "rewards": {
        "rewards.<entry>.name": "what scores; any number of entries",
        "rewards.<entry>.weight": "of the reward in the advantage",
        "rewards.<entry>.timeout": "for one call, which scores a whole step",
        "rewards.<entry>.on_failure": "what an exception or a time-out does",
    },
    "estimator": {
        "estimator.name": "how rewards become advantages",
    },
    "sampling": {
        "sampling.temperature": "of sampling in training",
        "sampling.top_p": "of the probability that is kept",
        "sampling.max_tokens": "longest completion, or turn",
        "rollout.name": "what samples",
        "rollout.lag": "sample this far ahead, with older weights",
    },
    "training": {
        "training.steps": "of the run; 100 unless epochs are given",
        "training.epochs": "or: passes over the prompts",
        "training.prompts_per_step": "of a rollout batch, over all devices",
        "training.group_size": "of each prompt",
        "training.mini_batches": "of a rollout batch",
        "training.inner_epochs": "over each rollout batch",
        "training.micro_batch_tokens": "of a forward pass: memory, and nothing else",
        "training.dynamic_sampling_rounds": "to replace groups without signal; 0: off",
    },
    "loss": {
        "loss.name": "how advantages become a loss",
        "loss.clip_low": "how far the ratio may fall below 1",
        "loss.clip_high": "how far it may rise above; null: as clip_low",
        "loss.kl_coef": "of the KL penalty to the reference; 0: none",
        "loss.aggregation": "how the tokens of a batch are weighted",
        "entropy.coef": "of the entropy bonus",
    },
    "optimizer": {
        "optimizer.name": "which one",
        "optimizer.lr": "learning rate after warm-up",
        "optimizer.schedule": "of the learning rate after warm-up",
        "optimizer.warmup_steps": "over which the learning rate rises from 0",
        "optimizer.weight_decay": "of the weights",
        "optimizer.max_grad_norm": "largest norm of gradients; 0: no limit",
    },
    "evaluation": {
        "evaluation.prompts.path": "of held-out prompts",
        "evaluation.every": "also during the run; 0: before and after only",
        "evaluation.initial": "also before the first step",
        "evaluation.samples": "of each held-out prompt",
        "evaluation.temperature": "null: as in training; 0: greedy decoding",
    },
    "output": {
        "output": "run folder; new or empty",
        "seed": "the same seed, the same run",
        "training.checkpoint_every": "between checkpoints; 0: one at the end",
        "training.samples_every": "between files of completions; 0: none",
        "trainer.devices": "how many, or which",
        "trainer.precision": "32-true or bf16-mixed",
    },
}
"""Group -> key -> what it is, in a few words; `<entry>` stands for every reward of the config."""
