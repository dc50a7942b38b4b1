"""The rollout backend `vllm-server`: engines of vLLM in other processes, on other devices or nodes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from attrs import define, field, validators
from safetensors.torch import save_file
from torch import Tensor, nn

from morl.errors import ConfigError, RolloutError
from morl.rollout.ends import end_ids
from morl.runtime.exchange import Exchange
from morl.types import EncodedPrompt, RolloutBatch, Sampling
from morl_vllm.limits import check_lengths
from morl_vllm.sampling import SERVER_OPTIONS, Drawn, check_server_sampling, rollout_batch
from morl_vllm.server.client import Server
from morl_vllm.server.fleet import Fleet
from morl_vllm.server.key import VARIABLE, rollout_key
from morl_vllm.server.request import GenerateRequest
from morl_vllm.server.scratch import scratch_folder
from morl_vllm.server.stream import ServerStream
from morl_vllm.weights import check_weights, expected_shapes, policy_weights, read_all


@define(eq=False)
class VllmServerBackend:
    """Samples on rollout servers, and sends all of them the new weights before every step.

    A server that fails is left out, with a warning, until it answers again.  The ranks of a distributed run share the
    servers.

    Args:
        urls: of the servers, `http://host:port`.
        timeout: seconds that a server may take for an answer before it counts as lost.
        max_staleness: 0: all completions of a batch come from the same weights; k: a server that missed a sync may go
            on with weights up to k versions older.  Every completion says which drew it, `rollout/lag` is that of the
            oldest, and `importance` corrects for them.

    Raises:
        ConfigError: no URL, one twice, or the key is not set.
    """

    sampling_options: ClassVar[frozenset[str]] = SERVER_OPTIONS
    own_numerics: ClassVar[bool] = True

    urls: Sequence[str]
    timeout: float = field(default=600.0, validator=validators.gt(0.0))
    max_staleness: int = field(default=0, validator=validators.ge(0))
    _servers: list[Server] = field(init=False)
    _policy: Any = field(init=False, default=None)
    _tokenizer: Any = field(init=False, default=None)
    _fleet: Fleet | None = field(init=False, default=None)
    _expected: dict[str, tuple[int, ...]] = field(init=False, factory=dict)
    _max_model_len: int = field(init=False, default=0)
    _version: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        urls = [url.rstrip("/") for url in self.urls]
        if isinstance(self.urls, str) or not urls:
            raise ConfigError(f"urls must be a list of at least one server; got {self.urls!r}")
        if len(set(urls)) < len(urls):
            raise ConfigError(f"a server stands twice in urls: {', '.join(urls)}")
        key = rollout_key()
        if key is None:
            raise ConfigError(f"set {VARIABLE} to the key of the rollout servers, as `morl serve-rollouts` prints it")
        self._servers = [Server(url, key, self.timeout) for url in urls]

    def check_sampling(self, sampling: Sampling) -> None:
        """See `morl_vllm.sampling.check_server_sampling`."""
        check_server_sampling(sampling)

    def start(self, policy: nn.Module, tokenizer: Any, model_path: str) -> None:
        """See `morl.hookspecs.RolloutBackend`.

        Every rank of a distributed run has to call it.

        Raises:
            ConfigError: a server refuses the key or takes no weights.
            RolloutError: no server answers.
        """
        self._policy, self._tokenizer = policy, tokenizer
        self._expected = expected_shapes(self._policy.base_model.config)
        ranks = Exchange.apart()
        run = ranks.gather(uuid.uuid4().hex)[0]
        fleet = Fleet(self._servers, run, self.max_staleness, ranks)
        self._max_model_len = fleet.meet()
        self._fleet = fleet

    def sync_weights(self, version: int) -> None:
        """See `morl.hookspecs.RolloutBackend`; every rank has to call it.

        Raises:
            RolloutError: the policy's weights are not a whole checkpoint, a server runs another model, or none is left.
        """
        fleet = self._started()
        weights = policy_weights(self._policy)
        check_weights(weights, self._expected)
        with scratch_folder("morl-weights-") as folder:
            checkpoint = folder / "model.safetensors"
            # All ranks read, for shards are gathered by all together.
            tensors = {name: _copy(tensor) for name, tensor in read_all(weights) if fleet.sends}
            if fleet.sends:
                save_file(tensors, checkpoint)
            fleet.load(checkpoint, version)
        self._version = version

    def generate(
        self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> RolloutBatch:
        """See `morl.hookspecs.RolloutBackend`.

        Raises:
            ConfigError: prompt and completion may exceed the context of the model or of a server.
            DataError: a prompt without tokens.
            RolloutError: no server is left, or the backend is not running.
        """
        assert len(seeds) == len(prompts) > 0
        assert n >= 1
        groups, versions = self._started().generate(self._request(prompts, n, sampling, seeds))
        return rollout_batch(prompts, n, groups, sampling.stop, self._tokenizer, versions)

    def stream(self) -> ServerStream:
        """See `morl.hookspecs.RolloutBackend`."""

        def request_of(prompt: EncodedPrompt, n: int, sampling: Sampling, seed: int) -> GenerateRequest:
            return self._request([prompt], n, sampling, [seed])

        def batch_of(prompt: EncodedPrompt, drawn: Drawn, sampling: Sampling, version: int) -> RolloutBatch:
            return rollout_batch([prompt], 1, [[drawn]], sampling.stop, self._tokenizer, [version])

        return ServerStream(self._started(), request_of, batch_of)

    def _request(
        self, prompts: Sequence[EncodedPrompt], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> GenerateRequest:
        """What servers are asked, once it has been looked at."""
        fleet, base = self._started(), self._policy.base_model
        larger = "start the rollout servers with a larger max_model_len"
        check_lengths(prompts, sampling.max_tokens, base.config, self._max_model_len, otherwise=larger)
        ends = end_ids(self._tokenizer, getattr(base, "generation_config", None), sampling)
        return GenerateRequest(
            prompts=[prompt.token_ids for prompt in prompts],
            n=n,
            sampling=sampling,
            seeds=seeds,
            end_ids=sorted(ends),
            run=fleet.run,
            version=self._version,
            oldest=self._version - self.max_staleness,
        )

    def close(self) -> None:
        """See `morl.hookspecs.RolloutBackend`; the servers run on."""
        self._policy = self._tokenizer = self._fleet = None

    def _started(self) -> Fleet:
        if self._fleet is None:
            raise RolloutError("the rollout backend 'vllm-server' is not running: call start() first")
        return self._fleet


def _copy(tensor: Tensor) -> Tensor:
    """On the CPU, and sharing no memory: a file of safetensors cannot hold a tensor under two names."""
    return tensor.to("cpu", copy=True).contiguous()
