"""verl's names: keys of its PPO trainer's config, as in verl 0.9, and what stands for them here."""

from __future__ import annotations

from collections.abc import Mapping

from morl.config.foreign.rows import Row, absent, differs, same

_ACTOR, _ROLLOUT, _MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
_VLLM = "of the backend `vllm` (plugin morl-vllm)"
_NO_CRITIC = "there is no critic: advantages are relative to the group"
_TOKENS = "in tokens, for all ranks alike, and changes no result"
_SOURCE = "`prompts.name: datasets` with `path: parquet` reads such files"

KEYS: Mapping[str, Row] = {
    "data.train_files": differs(_SOURCE, "prompts.path"),
    "data.val_files": differs(_SOURCE, "evaluation.prompts.path"),
    "data.prompt_key": same("prompts.prompt"),
    "data.train_batch_size": differs("prompts, as there", "training.prompts_per_step"),
    "data.gen_batch_size": differs(
        "dropped groups are sampled again, a fixed number of rounds", "training.dynamic_sampling_rounds"
    ),
    "data.max_prompt_length": differs("null takes what fits into the context", "prompts.max_prompt_tokens"),
    "data.max_response_length": differs("256 by default", "sampling.max_tokens"),
    "data.filter_overlong_prompts": differs("`skip`", "prompts.on_long"),
    "data.truncation": differs("prompts are never cut: `error` or `skip`", "prompts.on_long"),
    "data.shuffle": same("prompts.shuffle"),
    "data.seed": differs("one seed for everything", "seed"),
    "data.apply_chat_template_kwargs": same("prompts.chat_template_kwargs"),
    "data.reward_fn_key": differs("which rows a reward applies to", "rewards.<entry>.when"),
    f"{_MODEL}.path": same("policy.path"),
    f"{_MODEL}.trust_remote_code": same("policy.trust_remote_code"),
    f"{_MODEL}.enable_gradient_checkpointing": differs("off by default", "policy.gradient_checkpointing"),
    f"{_MODEL}.lora_rank": same("policy.lora.rank"),
    f"{_MODEL}.lora_alpha": same("policy.lora.alpha"),
    f"{_MODEL}.target_modules": same("policy.lora.target_modules"),
    f"{_MODEL}.use_remove_padding": differs("`packed`, the default where the model allows it", "policy.attention"),
    f"{_MODEL}.override_config": differs("arguments of `from_pretrained`", "policy.model_args"),
    f"{_ACTOR}.optim.lr": same("optimizer.lr"),
    f"{_ACTOR}.optim.weight_decay": same("optimizer.weight_decay"),
    f"{_ACTOR}.optim.lr_warmup_steps": same("optimizer.warmup_steps"),
    f"{_ACTOR}.optim.lr_warmup_steps_ratio": same("optimizer.warmup_ratio"),
    f"{_ACTOR}.optim.warmup_style": differs("a schedule by name", "optimizer.schedule"),
    f"{_ACTOR}.optim.lr_scheduler_type": differs("a schedule by name", "optimizer.schedule"),
    f"{_ACTOR}.optim.total_training_steps": differs("rollout batches", "training.steps"),
    f"{_ACTOR}.grad_clip": same("optimizer.max_grad_norm"),
    f"{_ACTOR}.ppo_mini_batch_size": differs(
        "a number of mini-batches, not their size: prompts_per_step / ppo_mini_batch_size", "training.mini_batches"
    ),
    f"{_ACTOR}.ppo_micro_batch_size": differs(_TOKENS, "training.micro_batch_tokens"),
    f"{_ACTOR}.ppo_micro_batch_size_per_gpu": differs(_TOKENS, "training.micro_batch_tokens"),
    f"{_ACTOR}.use_dynamic_bsz": differs("always: passes are filled by tokens", "training.micro_batch_tokens"),
    f"{_ACTOR}.ppo_max_token_len_per_gpu": same("training.micro_batch_tokens"),
    f"{_ACTOR}.ppo_epochs": same("training.inner_epochs"),
    f"{_ACTOR}.clip_ratio": differs("two keys", "loss.clip_low", "loss.clip_high"),
    f"{_ACTOR}.clip_ratio_low": same("loss.clip_low"),
    f"{_ACTOR}.clip_ratio_high": same("loss.clip_high"),
    f"{_ACTOR}.clip_ratio_c": differs("off by default, 3 there; above 1 + `clip_high`", "loss.delta"),
    f"{_ACTOR}.loss_agg_mode": differs(
        "`token-mean`; `seq-mean-token-mean`: `sequence-mean`; `seq-mean-token-sum-norm`: `dr-grpo`",
        "loss.aggregation",
    ),
    f"{_ACTOR}.policy_loss.loss_mode": differs("a loss by name: `clipped`, `gspo`, ..", "loss.name"),
    f"{_ACTOR}.use_kl_loss": differs("on where it is not 0", "loss.kl_coef"),
    f"{_ACTOR}.kl_loss_coef": same("loss.kl_coef"),
    f"{_ACTOR}.kl_loss_type": differs("`low_var_kl` is `k3`, `kl` is `k1`, `mse` is `k2`", "loss.kl_estimator"),
    f"{_ACTOR}.entropy_coeff": same("entropy.coef"),
    f"{_ACTOR}.strategy": differs("`ddp` or `fsdp2`", "trainer.strategy"),
    f"{_ACTOR}.checkpoint": differs("`all` or `weights`", "training.keep"),
    f"{_ROLLOUT}.n": same("training.group_size"),
    f"{_ROLLOUT}.name": differs("`transformers`, or of morl-vllm `vllm` and `vllm-server`", "rollout.name"),
    f"{_ROLLOUT}.mode": differs("asynchronous rollouts", "rollout.lag"),
    f"{_ROLLOUT}.temperature": same("sampling.temperature"),
    f"{_ROLLOUT}.top_p": same("sampling.top_p"),
    f"{_ROLLOUT}.top_k": differs("0 keeps all, where -1 does there", "sampling.top_k"),
    f"{_ROLLOUT}.gpu_memory_utilization": differs(_VLLM, "rollout.gpu_memory_utilization"),
    f"{_ROLLOUT}.max_model_len": differs(_VLLM, "rollout.max_model_len"),
    f"{_ROLLOUT}.free_cache_engine": differs(_VLLM, "rollout.sleep"),
    f"{_ROLLOUT}.engine_kwargs": differs(_VLLM, "rollout.engine_args"),
    f"{_ROLLOUT}.max_num_seqs": differs("of the backend `transformers`, rows decoded at once", "rollout.max_rows"),
    f"{_ROLLOUT}.tensor_model_parallel_size": differs(
        "an argument of `morl serve-rollouts`; an engine beside the trainer has one GPU"
    ),
    f"{_ROLLOUT}.val_kwargs.n": same("evaluation.samples"),
    f"{_ROLLOUT}.val_kwargs.temperature": differs("that of training by default, not 0", "evaluation.temperature"),
    f"{_ROLLOUT}.multi_turn.enable": differs("where there is a section `environment`, or `tools`", "environment.name"),
    f"{_ROLLOUT}.multi_turn.max_assistant_turns": same("environment.max_turns"),
    f"{_ROLLOUT}.multi_turn.tool_config_path": differs("functions: `tools: [..]`", "environment.functions"),
    f"{_ROLLOUT}.multi_turn.format": differs("`auto` finds out", "environment.call_format"),
    "actor_rollout_ref.ref": differs("the initial policy; see the section", "reference.sync_every"),
    "algorithm.adv_estimator": differs("`grpo`, `gdpo`, and those of morl-estimators", "estimator.name"),
    "algorithm.norm_adv_by_std_in_grpo": differs("`grpo-no-std` leaves the std out", "estimator.name"),
    "algorithm.use_kl_in_reward": differs("the reward `reference-kl`, with a weight above 0", "rewards.<entry>.name"),
    "algorithm.kl_ctrl.kl_coef": differs("the weight of the reward `reference-kl`", "rewards.<entry>.weight"),
    "algorithm.filter_groups.enable": differs("on from 1 on", "training.dynamic_sampling_rounds"),
    "algorithm.filter_groups.max_num_gen_batches": same("training.dynamic_sampling_rounds"),
    "algorithm.rollout_correction": differs("see the section", "importance.correction"),
    "algorithm.gamma": absent("an outcome is not discounted"),
    "algorithm.lam": absent(_NO_CRITIC),
    "critic": absent(_NO_CRITIC),
    "reward_model": differs("a reward: `reward-model` (plugin morl-judge)", "rewards.<entry>.name"),
    "reward_model.reward_kwargs.overlong_buffer_cfg": differs("a reward for length: `length`", "rewards.<entry>.name"),
    "custom_reward_function.path": differs(
        "`rewards.NAME.name: python` with `PATH:compute_score`; verl's form is known", "rewards.<entry>.function"
    ),
    "custom_reward_function.name": differs("part of it: `PATH:compute_score`", "rewards.<entry>.function"),
    "reward.custom_reward_function.path": differs(
        "`rewards.NAME.name: python` with `PATH:compute_score`; verl's form is known", "rewards.<entry>.function"
    ),
    "trainer.total_epochs": differs("rounded up to whole steps", "training.epochs"),
    "trainer.total_training_steps": differs("rollout batches, as there", "training.steps"),
    "trainer.n_gpus_per_node": same("trainer.devices"),
    "trainer.nnodes": same("trainer.num_nodes"),
    "trainer.device": same("trainer.accelerator"),
    "trainer.logger": differs("`tensorboard`, `wandb`, `mlflow`; CSV always", "trainer.logger"),
    "trainer.project_name": differs("`WANDB_PROJECT`, `MLFLOW_EXPERIMENT_NAME`", "trainer.logger"),
    "trainer.experiment_name": differs("the name of the run folder", "output"),
    "trainer.default_local_dir": same("output"),
    "trainer.save_freq": differs("0 in place of -1", "training.checkpoint_every"),
    "trainer.max_actor_ckpt_to_keep": same("training.keep_checkpoints"),
    "trainer.test_freq": differs("0 in place of -1", "evaluation.every"),
    "trainer.val_before_train": same("evaluation.initial"),
    "trainer.val_only": differs("a command: `morl evaluate CONFIG MODEL`"),
    "trainer.resume_mode": differs("a command: `morl resume FOLDER`"),
    "trainer.critic_warmup": absent(_NO_CRITIC),
    "trainer.rollout_data_dir": differs("files of samples in the run folder", "training.samples_every"),
    "ray_kwargs": absent("there is no ray: torchrun or a scheduler starts the ranks"),
}
"""Dotted keys; a section stands for all of its keys that have no row of their own."""
