"""Lightning's names: arguments of its Trainer that stand elsewhere here, or have no meaning for rollouts."""

from __future__ import annotations

from collections.abc import Mapping

from morl.config.foreign.rows import Row, absent, differs, same

_DEBUG = "a run of few steps does the same: `training.steps`, `training.prompts_per_step`"

TRAINER: Mapping[str, Row] = {
    "accelerator": same("trainer.accelerator"),
    "devices": same("trainer.devices"),
    "gpus": same("trainer.devices"),
    "num_nodes": same("trainer.num_nodes"),
    "strategy": same("trainer.strategy"),
    "precision": differs("`32-true` or `bf16-mixed`", "trainer.precision"),
    "deterministic": same("trainer.deterministic"),
    "callbacks": same("trainer.callbacks"),
    "logger": differs("names; CSV is always written, other objects go into `trainer.loggers`", "trainer.logger"),
    "enable_progress_bar": same("trainer.progress"),
    "max_epochs": differs("rounded up to whole steps", "training.epochs"),
    "max_time": differs("a Lightning callback: `lightning.pytorch.callbacks.Timer`", "trainer.callbacks"),
    "gradient_clip_val": differs("1 by default", "optimizer.max_grad_norm"),
    "gradient_clip_algorithm": differs("always by norm", "optimizer.max_grad_norm"),
    "accumulate_grad_batches": differs(
        "follows: an optimizer step takes all passes that its share of the batch needs", "training.mini_batches"
    ),
    "val_check_interval": differs("in steps", "evaluation.every"),
    "check_val_every_n_epoch": differs("in steps", "evaluation.every"),
    "num_sanity_val_steps": differs("the initial policy is evaluated before the first step", "evaluation.initial"),
    "log_every_n_steps": differs("every step is logged"),
    "default_root_dir": same("output"),
    "enable_checkpointing": differs("one at the end always", "training.checkpoint_every"),
    "every_n_train_steps": same("training.checkpoint_every"),
    "save_top_k": same("training.keep_checkpoints"),
    "ckpt_path": differs("a command: `morl resume FOLDER`"),
    "seed_everything": same("seed"),
    "fast_dev_run": absent(_DEBUG),
    "overfit_batches": absent(_DEBUG),
    "limit_train_batches": absent(_DEBUG),
    "limit_val_batches": differs("of the sources that have it, the number of rows", "evaluation.prompts.limit"),
    "sync_batchnorm": absent("language models have none"),
    "profiler": absent("times of the parts of a step are logged, as `time/..`"),
    "benchmark": absent("there are no convolutions"),
}
"""Arguments of `lightning.pytorch.Trainer` and of its checkpoint callback."""
