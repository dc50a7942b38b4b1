"""What a rollout server does for a trainer: takes weights, draws completions with them, and never confuses the two."""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

from attrs import define, field

from morl_vllm.sampling import Drawn, sampling_params
from morl_vllm.server.request import GenerateRequest
from morl_vllm.weights import expected_shapes

FLAGS: Mapping[str, tuple[str, str]] = {
    "--worker-extension-cls": ("parallel_config.worker_extension_cls", "morl_vllm.worker.PolicyWorker"),
    "--logprobs-mode": ("model_config.logprobs_mode", "raw_logprobs"),
}
"""What an engine must have been started with: flag, place in `vllm.config.VllmConfig`, value."""


class Refusal(Exception):
    """What is asked for cannot be done.

    Attributes:
        status: of the HTTP answer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@define(eq=False)
class RequestHandler:
    """Serves one run at a time: whoever loaded weights last.

    Weights are loaded when nothing is being drawn, so all tokens of a completion come from the same weights, and every
    answer names them.  Requests of different temperatures take turns, for the temperature belongs to the engine.

    Args:
        engine: `vllm.v1.engine.async_llm.AsyncLLM`.
    """

    _engine: Any
    _run: str | None = field(init=False, default=None)
    _version: int | None = field(init=False, default=None)
    _temperature: float | None = field(init=False, default=None)
    _drawing: int = field(init=False, default=0)
    _changed: asyncio.Condition = field(init=False, factory=asyncio.Condition)
    _expected: dict[str, list[int]] = field(init=False, factory=dict)

    def status(self) -> dict[str, Any]:
        """Whose weights are loaded, how long a prompt and its completion may be, and which flags were forgotten."""
        return {
            "run": self._run,
            "version": self._version,
            "max_model_len": self._engine.model_config.max_model_len,
            "lacks": [
                f"{flag} {value}"
                for flag, (place, value) in FLAGS.items()
                if attrgetter(place)(self._engine.vllm_config) != value
            ],
        }

    async def load(self, path: Path, run: str, version: int) -> dict[str, Any]:
        """Loads the checkpoint in a file of safetensors.

        Raises:
            Refusal: 409 for a checkpoint of another model, which leaves the engine as it was; 500 where it failed, and
                then draws no more until a load succeeds.
        """
        self._check_shapes(path)
        async with self._changed:
            await self._changed.wait_for(lambda: self._drawing == 0)
            self._run = self._version = None
            try:
                answers = await self._engine.collective_rpc("morl_load_file", args=(str(path),))
                emptied = await self._engine.reset_prefix_cache()
            except Exception as error:
                raise Refusal(500, f"vLLM failed to load new weights: {type(error).__name__}: {error}") from error
            missing = sorted({name for answer in answers for name in answer})
            if missing:
                raise Refusal(500, f"vLLM took no new values for {len(missing)} parameters: {', '.join(missing[:3])}")
            if not emptied:
                raise Refusal(500, "vLLM did not empty its prefix cache, which holds keys and values of older weights")
            self._run, self._version = run, version
        return self.status()

    async def generate(self, request: GenerateRequest) -> dict[str, Any]:
        """The completions of each prompt, and the version of the weights that drew them.

        Raises:
            Refusal: 409 if other weights are loaded than those asked for; 500 where the engine failed.
        """
        ends = frozenset(request.end_ids)
        params = sampling_params(request.sampling, request.n, request.seeds, ends, member=request.member)
        async with self._turn(request) as version:
            try:
                groups = await asyncio.gather(
                    *(self._draw(prompt, one) for prompt, one in zip(request.prompts, params, strict=True))
                )
            except Exception as error:
                raise Refusal(500, f"vLLM failed to generate: {type(error).__name__}: {error}") from error
        completions = [[[one.token_ids, one.logprobs, one.truncated] for one in group] for group in groups]
        return {"version": version, "groups": completions}

    async def _draw(self, prompt: Sequence[int], params: Any) -> list[Drawn]:
        from vllm.sampling_params import RequestOutputKind

        params.output_kind = RequestOutputKind.FINAL_ONLY
        async for output in self._engine.generate({"prompt_token_ids": prompt}, params, uuid.uuid4().hex):
            if output.finished:
                return Drawn.members(output)
        raise RuntimeError("the engine ended a request without an answer")

    @asynccontextmanager
    async def _turn(self, request: GenerateRequest) -> AsyncIterator[int]:
        """Within it neither weights nor temperature change; gives the version of the weights."""
        temperature = request.sampling.temperature or 1.0
        async with self._changed:
            await self._changed.wait_for(lambda: self._drawing == 0 or self._temperature == temperature)
            version = self._version
            if version is None or self._run != request.run or not request.oldest <= version <= request.version:
                raise Refusal(
                    409,
                    f"the weights here are version {version} of run {self._run}, not version {request.version} of run"
                    f" {request.run}: was the server started anew, or is it used by two runs?",
                )
            if self._temperature != temperature:
                await self._engine.collective_rpc("morl_set_temperature", args=(temperature,))
                self._temperature = temperature
            self._drawing += 1
        try:
            yield version
        finally:
            async with self._changed:
                self._drawing -= 1
                self._changed.notify_all()

    def _check_shapes(self, path: Path) -> None:
        if not self._expected:
            config = self._engine.model_config.hf_config
            self._expected = {name: list(shape) for name, shape in expected_shapes(config).items()}
        given = shapes_in(path)
        wrong = sorted(
            name for name in self._expected.keys() | given.keys() if self._expected.get(name) != given.get(name)
        )
        if wrong:
            raise Refusal(
                409,
                f"the server runs another model than the trainer: {len(wrong)} tensors differ in name or shape"
                f" ({', '.join(wrong[:3])}); start it with the same policy",
            )


def shapes_in(path: Path) -> dict[str, list[int]]:
    """Names and shapes of the tensors in a file of safetensors, from its header.

    Raises:
        Refusal: 400, it is none.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        return {name: list(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise Refusal(400, f"the body is not a file of safetensors: {error}") from error
