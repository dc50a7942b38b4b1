"""Names that settings usually have elsewhere, in no one's table or in everybody's, and what stands for them here."""

from __future__ import annotations

from collections.abc import Mapping

from morl.config.foreign.rows import Row, absent, differs, same

_BATCH = differs("prompts, each of which gets `training.group_size` completions", "training.prompts_per_step")
_LENGTH = differs("of a completion; `prompts.max_prompt_tokens` of a prompt", "sampling.max_tokens")
_EPOCHS = differs("rounded up to whole steps", "training.epochs")
_STEPS = differs("rollout batches, not optimizer steps", "training.steps")
_EVERY_SAVE = differs("in steps", "training.checkpoint_every")
_EVERY_EVALUATION = differs("in steps", "evaluation.every")
_LOG = differs("every step is logged")
_CLIP = differs("two keys", "loss.clip_low", "loss.clip_high")
_KL = differs("of the loss; in the reward: the reward `reference-kl`", "loss.kl_coef")
_FILE = differs("a file, a folder or a name of the hub, by the source", "prompts.path")
_FUNCTION = differs("of the reward `python`, as `package.module:function` or `file.py:function`", "function")
_REWARD = differs("an entry of its own for each", "rewards.<entry>.name", "rewards.<entry>.function")
_TOKENIZER = differs("the policy's own, from the same folder; from Python `morl.train(.., tokenizer=..)`")
_WANDB = differs("`wandb`; the project is WANDB_PROJECT, in the environment", "trainer.logger")
_FLASH = differs(
    "`attn_implementation` in it, with `policy.attention: padded`", "policy.model_args", "policy.attention"
)
_VLLM = differs("the backend `vllm` (plugin morl-vllm)", "rollout.name")
_ENGINE = differs("of the backend `vllm` (plugin morl-vllm), in it", "rollout.engine_args")
_PROMPT = differs("the column that is the prompt", "prompts.prompt")
_NUMBER = differs("of the sources that have it, the number of rows", "prompts.limit")
_HELD_OUT = differs("of the sources that have it, the number of rows", "evaluation.prompts.limit")
_CHECKPOINT = differs("a model folder, or a name of the hub", "policy.path")
_ACCUMULATION = differs(
    "follows: an optimizer step takes all passes that its share of the batch needs", "training.mini_batches"
)


def _named(*groups: tuple[str, Row]) -> Mapping[str, Row]:
    """Every name of each group has its row."""
    return {name: row for names, row in groups for name in names.split()}


FLAT: Mapping[str, Row] = _named(
    ("batch_size train_batch_size rollout_batch_size prompts_per_batch", _BATCH),
    (
        "micro_batch_size mini_batch_size minibatch_size",
        differs(
            "a number of mini-batches for each batch; passes are filled by tokens",
            "training.mini_batches",
            "training.micro_batch_tokens",
        ),
    ),
    ("per_device_batch_size", differs("passes are filled by tokens", "training.micro_batch_tokens")),
    ("max_length max_seq_length max_seq_len max_new_tokens max_response_length max_generation_length", _LENGTH),
    ("max_prompt_length max_prompt_len", differs("null takes what fits into the context", "prompts.max_prompt_tokens")),
    (
        "n rollout_n n_samples num_samples samples_per_prompt n_samples_per_prompt num_return_sequences"
        " rollouts_per_example grpo_group_size group",
        same("training.group_size"),
    ),
    ("num_epochs total_epochs n_epochs", _EPOCHS),
    ("ppo_epochs inner_loop_epochs", same("training.inner_epochs")),
    ("total_steps num_steps train_steps total_training_steps max_train_steps", _STEPS),
    ("scheduler lr_scheduler lr_schedule warmup_style", differs("a schedule by name", "optimizer.schedule")),
    ("warmup num_warmup_steps lr_warmup_steps", same("optimizer.warmup_steps")),
    ("adam_betas beta1 beta2", differs("a pair", "optimizer.betas")),
    ("wd", same("optimizer.weight_decay")),
    ("clip_grad grad_clip gradient_clip max_norm", same("optimizer.max_grad_norm")),
    ("grad_accum grad_accum_steps accumulation_steps gradient_accumulation", _ACCUMULATION),
    (
        "grad_checkpointing activation_checkpointing enable_gradient_checkpointing",
        same("policy.gradient_checkpointing"),
    ),
    ("clip clip_range cliprange clip_eps clip_ratio eps_clip clip_epsilon", _CLIP),
    ("kl kl_coeff kl_coef kl_weight kl_beta init_kl_coef kl_loss_coef kl_penalty", _KL),
    ("entropy_coeff ent_coef entropy_bonus", same("entropy.coef")),
    (
        "adv_estimator advantage_estimator advantage algo",
        differs("`grpo`, `gdpo`, ..; `morl plugins` lists them", "estimator.name"),
    ),
    ("algorithm", differs("an estimator and a loss by name", "estimator.name", "loss.name")),
    (
        "norm_adv normalize_advantages norm_by_std whiten_advantages",
        differs("`grpo-no-std` leaves the standard deviation out", "estimator.name"),
    ),
    ("gamma lam gae_lambda", absent("there is no critic, and an outcome is not discounted")),
    ("agg_mode loss_agg_mode loss_aggregation", same("loss.aggregation")),
    ("model_path model_name base_model name_or_path pretrain pretrained checkpoint actor", _CHECKPOINT),
    ("ref_model reference_model", differs("the initial policy; see the section", "reference.sync_every")),
    ("revision config_kwargs", differs("an argument of `from_pretrained`, in it", "policy.model_args")),
    ("tokenizer tokenizer_path tokenizer_name tokenizer_name_or_path", _TOKENIZER),
    ("dataset dataset_path data data_path data_files train_file train_files train_data prompt_data file", _FILE),
    (
        "eval_data eval_file val_file val_files test_file val_dataset test_dataset",
        differs("a section like `prompts`", "evaluation.prompts.path"),
    ),
    ("prompt_column prompt_key prompt_field input_key text_column question_column messages_key", _PROMPT),
    (
        "answer_key label_key answer_column ground_truth_key",
        differs("rewards read the columns of a row: `exact-match` the one that it names", "rewards.<entry>.column"),
    ),
    ("system_prompt system_message", same("prompts.system")),
    ("apply_chat_template use_chat_template", same("prompts.chat")),
    ("chat_template_args", same("prompts.chat_template_kwargs")),
    ("reward reward_fn reward_func reward_function reward_functions rubric", _REWARD),
    (
        "save_dir ckpt_dir checkpoint_dir logging_dir log_dir out_dir work_dir",
        differs("the run folder, for everything", "output"),
    ),
    ("save_every save_freq save_interval checkpoint_steps checkpoint_interval ckpt_every checkpoint_freq", _EVERY_SAVE),
    ("eval_every eval_freq eval_interval test_freq val_every validate_every", _EVERY_EVALUATION),
    ("log_every log_freq log_interval logging_interval verbose", _LOG),
    ("wandb use_wandb log_with tracker", _WANDB),
    (
        "wandb_project project_name project wandb_entity",
        differs("`WANDB_PROJECT`, `MLFLOW_EXPERIMENT_NAME`, in the environment", "trainer.logger"),
    ),
    ("experiment_name exp_name wandb_name name", differs("the name of the run folder", "output")),
    ("n_gpus num_gpus ngpus n_gpus_per_node gpus_per_node", same("trainer.devices")),
    ("nnodes nodes n_nodes", same("trainer.num_nodes")),
    ("device", same("trainer.accelerator")),
    ("mixed_precision amp", differs("`32-true` or `bf16-mixed`", "trainer.precision")),
    ("zero_stage deepspeed_config", differs("there is no DeepSpeed; `fsdp2` shards", "trainer.strategy")),
    ("flash_attn flash_attention use_flash_attn attn", _FLASH),
    ("use_lora peft", differs("on where it is a mapping", "policy.lora")),
    ("lora_rank", same("policy.lora.rank")),
    (
        "load_in_4_bit quantize bnb_config quantization_config",
        differs("on where it is a mapping, beside adapters", "policy.quantisation"),
    ),
    ("vllm inference_engine engine backend rollout_backend", _VLLM),
    ("tensor_parallel_size enforce_eager max_num_batched_tokens", _ENGINE),
    ("gpu_memory_utilization", differs("of the backend `vllm` (plugin morl-vllm)", "rollout.gpu_memory_utilization")),
    ("max_model_len", differs("of the backend `vllm` (plugin morl-vllm)", "rollout.max_model_len")),
    ("do_sample greedy", differs("0 is greedy decoding", "sampling.temperature")),
    ("stop_strings stop_sequences stop_words", same("sampling.stop")),
    ("eos_token_id stop_token", same("sampling.stop_token_ids")),
    ("temp", same("sampling.temperature")),
    ("frequency_penalty presence_penalty", differs("not the same penalty", "sampling.repetition_penalty")),
    ("random_seed manual_seed rng_seed", same("seed")),
    ("resume load_checkpoint resume_from auto_resume", differs("a command: `morl resume FOLDER`")),
    (
        "max_turns max_tool_calls",
        differs("of the section `environment`", "environment.max_turns", "environment.max_tool_calls"),
    ),
    ("env environments", differs("a section", "environment.name")),
)
"""Names without a section, which are looked up in any."""

_SOURCE = "dataset data file files filename data_files dataset_name path name"

SECTIONS: Mapping[str, Mapping[str, Row]] = {
    "prompts": _named(
        ("column key field text question input", _PROMPT),
        ("max_length max_len", same("prompts.max_prompt_tokens")),
        ("size n num_samples max_samples num_rows", _NUMBER),
    ),
    "evaluation": _named(
        (_SOURCE, differs("a section like `prompts`", "evaluation.prompts.path")),
        ("limit size max_samples num_prompts", _HELD_OUT),
        ("steps interval freq frequency", _EVERY_EVALUATION),
        ("n num_generations num_samples k", same("evaluation.samples")),
        ("batch_size", differs("rows decoded at once", "rollout.max_rows")),
    ),
    "rollout": _named(
        ("batch_size", _BATCH),
    ),
    "estimator": _named(
        ("weights reward_weights", differs("by name, at each reward", "rewards.<entry>.weight")),
        ("normalize normalise norm", differs("`grpo-no-std` leaves the standard deviation out", "estimator.name")),
    ),
    "loss": {"eps": _CLIP},
    "policy": {
        "lora_alpha": same("policy.lora.alpha"),
        "precision": differs("weights; of the passes: `trainer.precision`", "policy.dtype"),
    },
    "policy.lora": {"r": same("policy.lora.rank"), "target": same("policy.lora.target_modules")},
    "environment": {"max_steps": same("environment.max_turns"), "tools": same("environment.functions")},
    "rewards": _named(
        ("fn func callable path file import_path reward_func reward_fn", _FUNCTION),
        ("coef coefficient scale multiplier factor", same("weight")),
    ),
}
"""Names within a section. Those of a reward stand for keys of its entry."""

PART = _named(("type kind class class_path _target_", differs("a part is chosen by name", "name")))
"""Names within a section that chooses a part, for the key that does."""

CHOOSES = frozenset(
    {
        "policy",
        "prompts",
        "evaluation.prompts",
        "environment",
        "estimator",
        "estimator.weighting",
        "rollout",
        "loss",
        "optimizer",
        "optimizer.schedule",
    }
)
"""Sections that choose a part; so does every entry of `rewards`."""
