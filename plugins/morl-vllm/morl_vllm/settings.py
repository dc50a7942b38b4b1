"""From the backend's options to the arguments of `vllm.LLM`, for the device it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from morl.errors import ConfigError
from morl.rollout.context import context_limit

if TYPE_CHECKING:
    from morl_vllm.backend import VllmBackend

CPU_MODEL_LEN = 16384
CPU_KV_CACHE_GIB = 1.0
CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""That vLLM's attention on CPUs can do, as `vllm.v1.attention.backends.cpu_attn` says."""

_OWN = "it is the backend's own business"
RESERVED: Mapping[str, str] = {
    "dtype": "use rollout.dtype",
    "max_model_len": "use rollout.max_model_len",
    "max_num_seqs": "use rollout.max_num_seqs",
    "kv_cache_memory_bytes": "use rollout.kv_cache_gib",
    "gpu_memory_utilization": "use rollout.gpu_memory_utilization",
    "enforce_eager": "use rollout.enforce_eager",
    "enable_sleep_mode": "use rollout.sleep",
    "tensor_parallel_size": "an engine inside the training process is one process",
    "pipeline_parallel_size": "an engine inside the training process is one process",
    "data_parallel_size": "an engine inside the training process is one process",
    "quantization": "the engine has to compute what the policy computes",
    **dict.fromkeys(
        (
            "model",
            "tokenizer",
            "skip_tokenizer_init",
            "load_format",
            "worker_cls",
            "worker_extension_cls",
            "distributed_executor_backend",
            "logprobs_mode",
            "generation_config",
            "seed",
        ),
        _OWN,
    ),
}
"""Engine arguments that would contradict the backend, and why they are refused."""


def check_engine_args(engine_args: Mapping[str, Any]) -> None:
    """Refuses what has an option of its own or cannot be.

    Raises:
        ConfigError: names the argument, and what to do.
    """
    for name in engine_args:
        if name in RESERVED:
            raise ConfigError(f"engine_args must not contain {name!r}: {RESERVED[name]}")


def engine_arguments(options: VllmBackend, base: Any, device: str) -> dict[str, Any]:
    """Arguments of `vllm.LLM`.

    Args:
        options: the user's.
        base: the policy's Hugging Face model.
        device: its kind, `cpu` or `cuda`.

    Raises:
        ConfigError: options without effect on this device, or a model that the engine cannot run on it.
    """
    limit = context_limit(base.config)
    arguments: dict[str, Any] = {
        "load_format": "dummy",  # the first sync brings the weights
        "dtype": str(base.dtype).removeprefix("torch.") if options.dtype == "auto" else options.dtype,
        "max_num_seqs": options.max_num_seqs,
        # The log-probabilities before top-k and top-p; their temperature is set by the worker extension.
        "logprobs_mode": "raw_logprobs",
        "generation_config": "vllm",  # not the model's own sampling defaults
        "worker_extension_cls": "morl_vllm.worker.PolicyWorker",
        # Not one engine over all ranks, but one for each, whose place is read from the environment.
        "distributed_executor_backend": "external_launcher",
        "disable_log_stats": True,
    }
    if options.kv_cache_gib is not None:
        arguments["kv_cache_memory_bytes"] = int(options.kv_cache_gib * 2**30)
    if options.max_model_len is not None:
        arguments["max_model_len"] = options.max_model_len
    arguments |= _for_cpu(options, base, limit) if device == "cpu" else _for_gpu(options)
    return arguments | dict(options.engine_args)


def _for_cpu(options: VllmBackend, base: Any, limit: int | None) -> dict[str, Any]:
    config = base.config.get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if size not in CPU_HEAD_SIZES:
        raise ConfigError(
            f"vLLM cannot run this model on a CPU: its attention heads are {size} wide; supported:"
            f" {', '.join(map(str, CPU_HEAD_SIZES))}"
        )
    if options.sleep:
        raise ConfigError("rollout.sleep frees memory of a GPU, and the policy is on the CPU: leave it false")
    length = options.max_model_len or min(limit or CPU_MODEL_LEN, CPU_MODEL_LEN)
    return {
        "max_model_len": length,
        "enforce_eager": True,  # compiling takes longer than it saves for models that fit a CPU
        "enable_chunked_prefill": False,  # with seeds it raises "CPU Generator does not use offset"
        "max_num_batched_tokens": max(length, CPU_MODEL_LEN),
        "block_size": 32,  # prompts of 32 tokens can be shared; the default of 128 leaves out shorter ones
        "kv_cache_memory_bytes": int((options.kv_cache_gib or CPU_KV_CACHE_GIB) * 2**30),
    }


def _for_gpu(options: VllmBackend) -> dict[str, Any]:
    return {
        "enforce_eager": options.enforce_eager,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "enable_sleep_mode": options.sleep,
    }
