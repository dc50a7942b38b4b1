"""From a user's options to the arguments of an engine, for the device it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from attrs import define, field, validators

from morl.errors import ConfigError
from morl.rollout.context import context_limit

CPU_MODEL_LEN = 16384
CPU_KV_CACHE_GIB = 1.0
CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""That vLLM's attention on CPUs can do, as `vllm.v1.attention.backends.cpu_attn` says."""

_ONE_PROCESS = "an engine inside the training process is one process (rollout.name=vllm-server can have several)"
IN_PROCESS: Mapping[str, str] = dict.fromkeys(
    ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "distributed_executor_backend"),
    _ONE_PROCESS,
) | {"enable_sleep_mode": "use the option sleep"}
"""Engine arguments that an engine in the training process cannot have, and why."""

_OWN = "morl sets it"
_REPLICAS = "start a server for each replica; morl spreads the prompts over them"
_NODES = "an engine over several nodes needs Ray: distributed_executor_backend=ray"
ON_SERVER: Mapping[str, str] = {
    **{name: f"use the option {name}" for name in ("host", "port")},
    "middleware": _OWN,
    **dict.fromkeys(("data_parallel_size", "api_server_count"), _REPLICAS),
    **dict.fromkeys(("nnodes", "headless"), _NODES),
}
"""Arguments that `morl serve-rollouts` cannot pass on, and why."""

RESERVED: Mapping[str, str] = {
    **{name: f"use the option {name}" for name in ("dtype", "max_model_len", "max_num_seqs", "enforce_eager")},
    "gpu_memory_utilization": "use the option gpu_memory_utilization",
    "kv_cache_memory_bytes": "use the option kv_cache_gib",
    "quantization": "the engine has to compute what the policy computes",
    **dict.fromkeys(
        (
            "model",
            "tokenizer",
            "skip_tokenizer_init",
            "load_format",
            "worker_cls",
            "worker_extension_cls",
            "logprobs_mode",
            "generation_config",
            "seed",
        ),
        _OWN,
    ),
}
"""Engine arguments that no engine can have, and why."""


@define(eq=False)
class EngineOptions:
    """What a user may choose of an engine, wherever it runs.

    Args:
        dtype: the engine computes in; `auto`: that of the policy's weights.
        max_model_len: longest prompt and completion together, in tokens.  None: what the model was built for; on a CPU
            16384 at most, for the engine keeps buffers for as many.
        max_num_seqs: completions decoded at once.
        kv_cache_gib: memory for keys and values.  None: 1 on a CPU; on a GPU what `gpu_memory_utilization` leaves.
        gpu_memory_utilization: share of the GPU's memory that the engine may take.
        enforce_eager: no CUDA graphs: less memory and a quicker start for slower decoding.  Without effect on a CPU.
        engine_args: further arguments of `vllm.EngineArgs`.

    Raises:
        ConfigError: engine arguments that would contradict morl.
    """

    dtype: Literal["auto", "float32", "bfloat16"] = field(
        default="auto", validator=validators.in_(("auto", "float32", "bfloat16"))
    )
    max_model_len: int | None = field(default=None, validator=validators.optional(validators.ge(2)))
    max_num_seqs: int = field(default=256, validator=validators.ge(1))
    kv_cache_gib: float | None = field(default=None, validator=validators.optional(validators.gt(0.0)))
    gpu_memory_utilization: float = field(default=0.4, validator=[validators.gt(0.0), validators.le(1.0)])
    enforce_eager: bool = False
    engine_args: Mapping[str, Any] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        refuse(self.engine_args, RESERVED)

    def arguments(self, config: Any, dtype: torch.dtype, device: str) -> dict[str, Any]:
        """Arguments of `vllm.EngineArgs`.

        Args:
            config: the policy's Hugging Face config.
            dtype: of its weights.
            device: kind of the device that the engine runs on, `cpu` or `cuda`.

        Raises:
            ConfigError: a model that the engine cannot run there.
        """
        arguments: dict[str, Any] = {
            "load_format": "dummy",  # the first sync brings the weights
            "dtype": str(dtype).removeprefix("torch.") if self.dtype == "auto" else self.dtype,
            "max_num_seqs": self.max_num_seqs,
            # The log-probabilities before top-k and top-p; their temperature is set by the worker extension.
            "logprobs_mode": "raw_logprobs",
            "generation_config": "vllm",  # not the model's own sampling defaults
            "worker_extension_cls": "morl_vllm.worker.PolicyWorker",
            "disable_log_stats": True,
        }
        if self.kv_cache_gib is not None:
            arguments["kv_cache_memory_bytes"] = int(self.kv_cache_gib * 2**30)
        if self.max_model_len is not None:
            arguments["max_model_len"] = self.max_model_len
        arguments |= self._for_cpu(config) if device == "cpu" else self._for_gpu()
        return arguments | dict(self.engine_args)

    def _for_cpu(self, config: Any) -> dict[str, Any]:
        text = config.get_text_config()
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        if size not in CPU_HEAD_SIZES:
            raise ConfigError(
                f"vLLM cannot run this model on a CPU: its attention heads are {size} wide; supported:"
                f" {', '.join(map(str, CPU_HEAD_SIZES))}"
            )
        length = self.max_model_len or min(context_limit(config) or CPU_MODEL_LEN, CPU_MODEL_LEN)
        return {
            "max_model_len": length,
            "enforce_eager": True,  # compiling takes longer than it saves for models that fit a CPU
            "enable_chunked_prefill": False,  # with seeds it raises "CPU Generator does not use offset"
            "max_num_batched_tokens": max(length, CPU_MODEL_LEN),
            "block_size": 32,  # prompts of 32 tokens can be shared; the default of 128 leaves out shorter ones
            "kv_cache_memory_bytes": int((self.kv_cache_gib or CPU_KV_CACHE_GIB) * 2**30),
        }

    def _for_gpu(self) -> dict[str, Any]:
        return {"enforce_eager": self.enforce_eager, "gpu_memory_utilization": self.gpu_memory_utilization}


def refuse(engine_args: Mapping[str, Any], reserved: Mapping[str, str]) -> None:
    """Refuses what has an option of its own or cannot be.

    Raises:
        ConfigError: names the argument, and what to do.
    """
    for name in engine_args:
        if name in reserved:
            raise ConfigError(f"engine_args must not contain {name!r}: {reserved[name]}")
