"""The rollout backend `vllm`: an engine of vLLM inside the training process, one per rank."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from attrs import define, field
from torch import nn

from morl.errors import ConfigError, RolloutError
from morl.rollout.constraint import Constraint
from morl.rollout.ends import end_ids
from morl.sampling import CONSTRAINTS
from morl.types import EncodedPrompt, RolloutBatch, Sampling
from morl_vllm.engine import Engine, EngineFault
from morl_vllm.installed import installed_engine, require_engine
from morl_vllm.limits import check_lengths
from morl_vllm.sampling import SAMPLING_OPTIONS, Drawn, check_sampling, is_constrained, rollout_batch, sampling_params
from morl_vllm.settings import IN_PROCESS, EngineOptions, refuse
from morl_vllm.stream import VllmStream
from morl_vllm.weights import policy_weights

_log = logging.getLogger(__name__)


@define(eq=False)
class VllmBackend(EngineOptions):
    """Samples with vLLM in the training process, on the policy's device, and loads the new weights before every step.

    Args:
        dtype: the engine computes in; `auto`: that of the policy's weights.
        max_model_len: longest prompt and completion together, in tokens.  None: what the model was built for; on a CPU
            16384 at most, for the engine keeps buffers for as many.
        max_num_seqs: completions decoded at once.
        kv_cache_gib: memory for keys and values.  None: 1 on a CPU; on a GPU what `gpu_memory_utilization` leaves.
        gpu_memory_utilization: share of the GPU's memory that the engine may take beside the trainer.
        enforce_eager: no CUDA graphs: less memory and a quicker start for slower decoding.  Without effect on a CPU.
        sleep: give the engine's GPU memory to the trainer while it does not generate.
        engine_args: further arguments of `vllm.LLM`.

    Raises:
        ConfigError: no engine is installed, or one of another version than those tested; options that make no sense.
    """

    sampling_options: ClassVar[frozenset[str]] = SAMPLING_OPTIONS
    own_numerics: ClassVar[bool] = True

    sleep: bool = False
    _policy: Any = field(init=False, default=None)
    _tokenizer: Any = field(init=False, default=None)
    _engine: Engine | None = field(init=False, default=None)
    _version: int = field(init=False, default=0)
    _constrained: bool = field(init=False, default=False)
    _languages: dict[Sampling, Constraint] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        refuse(self.engine_args, IN_PROCESS)
        require_engine(installed_engine())

    def check_sampling(self, sampling: Sampling) -> None:
        """See `morl_vllm.sampling.check_sampling`; an engine that is started later can be held to a constraint.

        Raises:
            ConfigError: what vLLM would draw otherwise than morl says.
        """
        check_sampling(sampling)
        self._constrained |= is_constrained(sampling)

    def start(self, policy: nn.Module, tokenizer: Any, model_path: str) -> None:
        """See `morl.hookspecs.RolloutBackend`; the folder is not read: config and weights come from the policy.

        Every rank of a distributed run has to call it.
        """
        self._policy, self._tokenizer = policy, tokenizer
        self._engine = self._new_engine()

    def sync_weights(self, version: int) -> None:
        """See `morl.hookspecs.RolloutBackend`; every rank of a sharded policy has to call it.

        An engine that fails is replaced once.

        Raises:
            RolloutError: the engine could not be brought to the policy's weights.
        """
        if self._policy is None:
            raise RolloutError("the rollout backend 'vllm' is not running: call start() first")
        weights = policy_weights(self._policy)
        try:
            if self._engine is None:
                raise EngineFault("vLLM failed earlier")
            self._engine.load(weights)
        except EngineFault as fault:
            if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
                raise  # starting another takes all ranks, and the others do not know
            _log.warning("%s; starting another engine", fault)
            self._end_engine()
            self._engine = self._new_engine()
            self._engine.load(weights)
        self._version = version

    def generate(
        self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> RolloutBatch:
        """See `morl.hookspecs.RolloutBackend`.

        Raises:
            ConfigError: prompt and completion may exceed the context of the model or of the engine.
            DataError: a prompt without tokens.
            RolloutError: the engine failed, or is not running.
        """
        assert len(seeds) == len(prompts) > 0
        assert n >= 1
        params = self._params(prompts, n, sampling, seeds)
        with self._running() as engine:
            groups = engine.generate([p.token_ids for p in prompts], params, sampling.temperature or 1.0)
        return rollout_batch(prompts, n, groups, sampling.stop, self._tokenizer, [self._version] * len(prompts))

    def stream(self) -> VllmStream:
        """See `morl.hookspecs.RolloutBackend`."""
        return VllmStream(self._running, self._members, self._batch_of)

    def _members(self, prompt: EncodedPrompt, n: int, sampling: Sampling, seed: int) -> list[Any]:
        """`vllm.SamplingParams` of each completion of a prompt by itself, with the seed that it has among `n`."""
        params = self._params([prompt] * n, 1, sampling, [seed] * n)
        for member, one in enumerate(params):
            one.seed += member
        return params

    def _batch_of(self, prompt: EncodedPrompt, drawn: Drawn, sampling: Sampling) -> RolloutBatch:
        return rollout_batch([prompt], 1, [[drawn]], sampling.stop, self._tokenizer, [self._version])

    def _params(self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]) -> list[Any]:
        """`vllm.SamplingParams` of each prompt, which are looked at before."""
        if self._engine is None:
            raise RolloutError("the rollout backend 'vllm' is not running: call start() and sync_weights() first")
        base, limit = self._policy.base_model, self._engine.max_model_len
        check_lengths(prompts, sampling.max_tokens, base.config, limit, otherwise="raise rollout.max_model_len")
        ends = end_ids(self._tokenizer, getattr(base, "generation_config", None), sampling)
        return sampling_params(sampling, n, seeds, ends, self._announced(sampling, ends))

    @contextmanager
    def _running(self) -> Iterator[Engine]:
        """The engine, which is ended where it fails."""
        if self._engine is None:
            raise RolloutError("the rollout backend 'vllm' is not running: call start() and sync_weights() first")
        try:
            yield self._engine
        except EngineFault:
            self._end_engine()
            raise

    def close(self) -> None:
        """See `morl.hookspecs.RolloutBackend`."""
        self._end_engine()
        self._policy = self._tokenizer = None
        self._languages.clear()

    def _announced(self, sampling: Sampling, ends: frozenset[int]) -> dict[str, str]:
        """What tells the engine of the constraint."""
        if not is_constrained(sampling):
            return {}
        if not self._constrained:
            raise RolloutError("the engine was started without constraints: call check_sampling() before start()")
        from morl_vllm.constraint import announce  # needs vLLM

        # Compiled once for all limits of tokens, which turns of conversations have many of.
        given = {name: getattr(sampling, name) for name in ("stop_token_ids", *CONSTRAINTS)}
        key = Sampling(**given)
        if key not in self._languages:
            generation_config = getattr(self._policy.base_model, "generation_config", None)
            self._languages[key] = Constraint(key, self._tokenizer, generation_config)
        return announce(self._languages[key], ends)

    def _new_engine(self) -> Engine:
        device = next(self._policy.parameters()).device
        base = self._policy.base_model
        if self.sleep and device.type == "cpu":
            raise ConfigError("rollout.sleep frees memory of a GPU, and the policy is on the CPU: leave it false")
        arguments = self.arguments(base.config, base.dtype, device.type) | {
            # Not one engine over all ranks, but one for each, whose place is read from the environment.
            "distributed_executor_backend": "external_launcher",
            "enable_sleep_mode": self.sleep,
        }
        if self._constrained:  # else not, for the engine then keeps track of every drawn token
            given = self.engine_args.get("logits_processors") or []
            arguments["logits_processors"] = [*given, "morl_vllm.constraint:ConstrainedTokens"]
        return Engine(base.config, self._tokenizer, arguments, device)

    def _end_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
