"""TRL's names: every field of GRPOConfig 1.16, arguments of its scripts and trainer, and what stands for them here.

`tests/docs/test_from_trl.py` compares the fields with TRL's own dataclass, and the keys with morl's.
"""

from __future__ import annotations

from collections.abc import Mapping

from morl.config.foreign.rows import Row, absent, differs, same

_VLLM = "of the backend `vllm` (plugin morl-vllm)"
_SERVER = "of the backend `vllm-server` (plugin morl-vllm)"
_VESPO = "of the loss `vespo`"

OWN: Mapping[str, Row] = {
    "learning_rate": same("optimizer.lr"),
    "model_init_kwargs": differs("`dtype` has a key of its own", "policy.model_args", "policy.dtype"),
    "trust_remote_code": same("policy.trust_remote_code"),
    "router_aux_loss_coef": differs("0 unless it is set, whatever the model's config says", "policy.router_loss_coef"),
    "disable_dropout": differs("always: the policy computes in evaluation mode"),
    "cast_lm_head_to_fp32": differs(
        "logits become float32 before the softmax always, but are multiplied in the model's precision; whole float32 is"
        " the default",
        "policy.dtype",
    ),
    "remove_unused_columns": differs("never: rewards see all columns of a row"),
    "num_generations": same("training.group_size"),
    "num_generations_eval": same("evaluation.samples"),
    "max_completion_length": differs("256 by default", "sampling.max_tokens"),
    "ds3_gather_for_generation": absent("there is no DeepSpeed; under `fsdp2` every rank samples from a whole copy"),
    "shuffle_dataset": same("prompts.shuffle"),
    "pad_to_multiple_of": absent("packed passes have no padding"),
    "generation_batch_size": differs("in prompts, not completions", "training.prompts_per_step"),
    "steps_per_generation": differs(
        "optimizer steps per batch; micro-batches follow from tokens", "training.mini_batches"
    ),
    "temperature": same("sampling.temperature"),
    "top_p": same("sampling.top_p"),
    "top_k": same("sampling.top_k"),
    "min_p": same("sampling.min_p"),
    "generation_kwargs": differs(
        "no free mapping: what a backend does not know is refused; for single rows: a column of settings",
        "sampling.stop",
        "sampling.stop_token_ids",
        "sampling.overrides_column",
    ),
    "chat_template_kwargs": same("prompts.chat_template_kwargs"),
    "repetition_penalty": same("sampling.repetition_penalty"),
    "cache_implementation": absent("the backend `transformers` has a cache of its own, which shares prompts"),
    "use_vllm": differs("the name of a backend", "rollout.name"),
    "vllm_mode": differs("backends `vllm` (colocated) and `vllm-server`", "rollout.name"),
    "vllm_model_impl": differs(f"an argument {_VLLM}", "rollout.engine_args"),
    "vllm_enable_sleep_mode": differs(_VLLM, "rollout.sleep"),
    "vllm_structured_outputs_regex": differs("not of the backend `vllm-server`", "sampling.regex"),
    "vllm_server_base_url": differs(_SERVER, "rollout.urls"),
    "vllm_server_host": differs(f"part of the URL; {_SERVER}", "rollout.urls"),
    "vllm_server_port": differs(f"part of the URL; {_SERVER}", "rollout.urls"),
    "vllm_server_timeout": differs(f"for every answer; {_SERVER}", "rollout.timeout"),
    "vllm_group_port": absent("weights travel over the servers' own port"),
    "vllm_gpu_memory_utilization": differs(_VLLM, "rollout.gpu_memory_utilization"),
    "vllm_max_model_length": differs(_VLLM, "rollout.max_model_len"),
    "vllm_tensor_parallel_size": differs(
        "an argument of `morl serve-rollouts`; an engine beside the trainer has one GPU"
    ),
    "beta": differs("0 by default, too", "loss.kl_coef"),
    "num_iterations": same("training.inner_epochs"),
    "epsilon": same("loss.clip_low"),
    "delta": same("loss.delta"),
    "epsilon_high": differs("of `cispo` it is the largest ratio, `loss.max_ratio`", "loss.clip_high", "loss.max_ratio"),
    "sapo_temperature_neg": differs("of the loss `sapo`", "loss.temperature_negative"),
    "sapo_temperature_pos": differs("of the loss `sapo`", "loss.temperature_positive"),
    "vespo_k_pos": differs(_VESPO, "loss.k_positive"),
    "vespo_lambda_pos": differs(_VESPO, "loss.lambda_positive"),
    "vespo_k_neg": differs(_VESPO, "loss.k_negative"),
    "vespo_lambda_neg": differs(_VESPO, "loss.lambda_negative"),
    "importance_sampling_level": differs("`sequence` is a loss: `gspo` or `gspo-token`", "loss.name"),
    "reward_weights": differs("by name, at each reward", "rewards.<entry>.weight"),
    "multi_objective_aggregation": differs(
        "an estimator: `grpo` sums then normalises, `gdpo` (the default) normalises then sums", "estimator.name"
    ),
    "scale_rewards": differs(
        "`group`: `grpo`; `none`: `grpo-no-std`; `batch`: its option `scale`", "estimator.name", "estimator.scale"
    ),
    "loss_type": differs(
        "`grpo`, `dapo`, `bnpo` and `dr_grpo` are names of the aggregation; `bnpo` does not depend on the local batch;"
        " `cispo`, `sapo`, `luspo` and `vespo` are losses",
        "loss.name",
        "loss.aggregation",
    ),
    "mask_truncated_completions": differs(
        "they leave the means over completions as well; there these still count them", "training.mask_truncated"
    ),
    "sync_ref_model": differs("on where the number of steps is not 0", "reference.sync_every"),
    "ref_model_mixup_alpha": differs("1 by default", "reference.mixup"),
    "ref_model_sync_steps": differs("counts rollout batches", "reference.sync_every"),
    "top_entropy_quantile": differs(
        "of the entropies at the start of the update, over the mini-batch; there of each pass", "loss.top_entropy"
    ),
    "entropy_coef": same("entropy.coef"),
    "use_adaptive_entropy": differs("on where a target is set", "entropy.target"),
    "entropy_coef_min": same("entropy.min_coef"),
    "entropy_coef_max": same("entropy.max_coef"),
    "entropy_coef_delta": same("entropy.delta"),
    "entropy_target": same("entropy.target"),
    "max_tool_calling_iterations": differs(
        "of a conversation with an environment", "environment.max_turns", "environment.max_tool_calls"
    ),
    "vllm_importance_sampling_correction": differs("for every backend, and for older weights", "importance.correction"),
    "vllm_importance_sampling_mode": differs(
        "two keys: `truncated` or `masked`, of each `token` or the `sequence`",
        "importance.correction",
        "importance.level",
    ),
    "vllm_importance_sampling_clip_max": differs("2 by default", "importance.high"),
    "vllm_importance_sampling_clip_min": differs("of `masked`", "importance.low"),
    "off_policy_mask_threshold": same("loss.off_policy_threshold"),
    "use_bias_correction_kl": differs("on by default there", "loss.kl_unbiased"),
    "log_completions": differs("files of samples in the run folder", "training.samples_every"),
    "log_multimodal": absent("there are no images"),
    "num_completions_to_print": absent("completions are written to files, all of a step, not to the terminal"),
    "log_unique_prompts": differs(
        "every completion of a step is in the file, with its prompt", "training.samples_every"
    ),
    "log_completions_hub_repo": absent("samples stay in the run folder"),
    "use_transformers_continuous_batching": differs(
        "the backend `transformers` lets ended rows leave at once, and shares prompts; one batch at a time",
        "rollout.max_rows",
    ),
    "transformers_continuous_batching_config": differs(
        "options of the backend `transformers`", "rollout.max_rows", "rollout.prefill_tokens"
    ),
    "use_transformers_paged": absent("deprecated there; see `use_transformers_continuous_batching`"),
    "vllm_importance_sampling_cap": differs("deprecated there", "importance.high"),
}
"""Fields that GRPOConfig itself declares."""

_NOT_ROLLOUTS = "supervised training's; completions are sampled"

INHERITED: Mapping[str, Row] = {
    "output_dir": same("output"),
    "seed": same("seed"),
    "data_seed": differs("one seed for everything", "seed"),
    "max_steps": differs("rollout batches, not optimizer steps", "training.steps"),
    "num_train_epochs": differs("rounded up to whole steps", "training.epochs"),
    "per_device_train_batch_size": differs(
        "it counts completions of a device, and sets the batch; here tokens of a pass, which change no result. The"
        " completions of an optimizer step are prompts_per_step x group_size / mini_batches",
        "training.micro_batch_tokens",
    ),
    "gradient_accumulation_steps": differs(
        "follows: an optimizer step takes all passes that its share of the batch needs", "training.mini_batches"
    ),
    "per_device_eval_batch_size": differs("rows decoded at once", "rollout.max_rows"),
    "optim": differs(
        "`adamw_torch`, `adamw_torch_fused`: `adamw`; `adamw_8bit`, `paged_adamw_8bit`, `paged_adamw_32bit`:"
        " `adamw-8bit`; `adafactor`; `sgd` and others of torch: `torch` with `class_path`",
        "optimizer.name",
    ),
    "optim_args": differs("options of the optimizer, side by side", "optimizer.init_args"),
    "optim_target_modules": absent("GaLore and the like are not there; adapters are chosen by `policy.lora`"),
    "weight_decay": differs("of all weights unless `optimizer.decay` is `matrices`", "optimizer.weight_decay"),
    "adam_beta1": differs("a pair", "optimizer.betas"),
    "adam_beta2": differs("a pair", "optimizer.betas"),
    "adam_epsilon": same("optimizer.eps"),
    "max_grad_norm": same("optimizer.max_grad_norm"),
    "lr_scheduler_type": differs("`constant` by default; transformers' by name: `transformers`", "optimizer.schedule"),
    "lr_scheduler_kwargs": differs("options of the schedule", "optimizer.schedule"),
    "warmup_steps": differs("two keys, for a number or a share", "optimizer.warmup_steps", "optimizer.warmup_ratio"),
    "bf16": differs("`bf16-mixed`", "trainer.precision"),
    "fp16": absent("needs gradient scaling, which manual optimisation would have to do"),
    "gradient_checkpointing": differs("off by default", "policy.gradient_checkpointing"),
    "gradient_checkpointing_kwargs": absent("never reentrant, and nothing else is to choose"),
    "torch_compile": absent("lengths and the plan of attention differ with every pass; see the limits"),
    "use_liger_kernel": absent("log-probabilities are computed in chunks, without a tensor of all logits' size"),
    "use_cpu": differs("`cpu`", "trainer.accelerator"),
    "full_determinism": differs("runs repeat bit for bit without it", "trainer.deterministic"),
    "ddp_find_unused_parameters": differs("a strategy", "trainer.strategy"),
    "fsdp": differs("`fsdp2`", "trainer.strategy"),
    "deepspeed": absent("`fsdp2` shards instead"),
    "parallelism_config": absent("data parallelism and FSDP2 only"),
    "logging_steps": differs("every step"),
    "report_to": differs("`tensorboard`, `wandb`, `mlflow` by name, others as objects; CSV always", "trainer.logger"),
    "run_name": differs("the name of the run folder", "output"),
    "disable_tqdm": differs("the live display", "trainer.progress"),
    "eval_strategy": differs("by steps, and before and after", "evaluation.every"),
    "eval_steps": same("evaluation.every"),
    "eval_on_start": differs("on by default", "evaluation.initial"),
    "save_strategy": differs("by steps or minutes", "training.checkpoint_every", "training.checkpoint_minutes"),
    "save_steps": same("training.checkpoint_every"),
    "save_total_limit": same("training.keep_checkpoints"),
    "save_only_model": differs("`weights`", "training.keep"),
    "load_best_model_at_end": differs("kept beside the last, by a held-out reward", "training.keep_best"),
    "metric_for_best_model": same("training.keep_best"),
    "greater_is_better": differs("always: a weight below 0 turns a reward around", "rewards.<entry>.weight"),
    "push_to_hub": same("training.push_to_hub"),
    "hub_model_id": same("training.push_to_hub"),
    "resume_from_checkpoint": differs("a command: `morl resume FOLDER`"),
    "average_tokens_across_devices": differs("always: weights of tokens are of the whole batch"),
    "auto_find_batch_size": differs(
        "the size of a pass changes no result, so it can be lowered", "training.micro_batch_tokens"
    ),
    "neftune_noise_alpha": absent("noise in training would not be in sampling: one network"),
    "label_smoothing_factor": absent(_NOT_ROLLOUTS),
    "dataloader_num_workers": absent("prompts are in memory; rollouts ahead of time: `rollout.lag`"),
}
"""Those of the fields of transformers' TrainingArguments that matter for reinforcement learning."""


_DATA = "the name of a source, and its options"
_REWARD = "one entry of `rewards` for each: `rewards.NAME.name: python` with `function`, or a plugin's name"
_JUDGE = "a model is a reward: `rewards.NAME.name: reward-model` (plugin morl-judge)"
_EIGHT_BITS = (
    "`LLM.int8()` rounds activations, so that passes of other shapes give other probabilities; four bits:"
    " `policy.quantisation`"
)

SCRIPT: Mapping[str, Row] = {
    "model": same("policy.path"),
    "model_name_or_path": same("policy.path"),
    "model_revision": differs("`revision` in it", "policy.model_args"),
    "dtype": same("policy.dtype"),
    "torch_dtype": same("policy.dtype"),
    "attn_implementation": differs("`attn_implementation` in it; for `padded` attention", "policy.model_args"),
    "use_peft": differs("on where it is a mapping", "policy.lora"),
    "peft_config": differs("a mapping", "policy.lora"),
    "lora_r": same("policy.lora.rank"),
    "lora_alpha": same("policy.lora.alpha"),
    "lora_dropout": differs("0 by default: sampling has no dropout", "policy.lora.dropout"),
    "lora_target_modules": same("policy.lora.target_modules"),
    "lora_modules_to_save": same("policy.lora.modules_to_save"),
    "use_rslora": same("policy.lora.rslora"),
    "use_dora": same("policy.lora.dora"),
    "load_in_8bit": absent(_EIGHT_BITS),
    "load_in_4bit": differs("on where it is a mapping, beside adapters", "policy.quantisation"),
    "use_bnb_nested_quant": same("policy.quantisation.double"),
    "bnb_4bit_quant_type": same("policy.quantisation.type"),
    "dataset_name": differs(f"{_DATA}: `prompts.name: datasets`", "prompts.path"),
    "dataset_config": differs("of the source `datasets`", "prompts.subset"),
    "dataset_train_split": differs("of the source `datasets`", "prompts.split"),
    "dataset_test_split": differs("of the source `datasets`", "evaluation.prompts.split"),
    "dataset_streaming": absent("prompts are in memory"),
    "train_dataset": differs(f"{_DATA}; from Python `morl.train(.., prompts=..)`", "prompts.name"),
    "eval_dataset": differs(f"{_DATA}; from Python `morl.train(.., evaluation_prompts=..)`", "evaluation.prompts.name"),
    "processing_class": differs("the policy's own tokenizer; from Python `morl.train(.., tokenizer=..)`"),
    "reward_funcs": differs(f"{_REWARD}; from Python `morl.train(.., rewards=[..])`", "rewards.<entry>.function"),
    "reward_model_name_or_path": differs(_JUDGE, "rewards.<entry>.name"),
    "environment_factory": differs("of the environment `python`", "environment.factory"),
}
"""Arguments of TRL's scripts and of GRPOTrainer besides those of GRPOConfig, that have other names here."""


def share_offered() -> tuple[int, int]:
    """How many of GRPOConfig's own fields have an equivalent, and how many there are."""
    return sum(row.offered for row in OWN.values()), len(OWN)
