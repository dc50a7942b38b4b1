"""Contexts in a running engine that others may join: the stream of the backend `vllm`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field, frozen

from morl.types import EncodedPrompt, RolloutBatch, Sampling
from morl_vllm.sampling import Drawn

if TYPE_CHECKING:
    from morl_vllm.engine import Engine

Members: TypeAlias = Callable[[EncodedPrompt, int, Sampling, int], Sequence[Any]]


@frozen(eq=False)
class Wanted:
    """A request of the engine: one completion, or at temperature 0 all of a context, which are the same."""

    number: int
    members: Sequence[int]
    prompt: EncodedPrompt
    sampling: Sampling


@define(eq=False)
class VllmStream:
    """See `morl.hookspecs.RolloutStream`.

    Every completion is a request of its own, whose seed is that which the engine would give it among n: so it is there
    when it has ended, and not when the last of its prompt has.

    Args:
        running: the engine.
        params: `vllm.SamplingParams` of each of n completions of a context, by (context, n, sampling, seed).
        batch_of: a completion, as morl hands it on.
    """

    running: Callable[[], AbstractContextManager[Engine]]
    params: Members
    batch_of: Callable[[EncodedPrompt, Drawn, Sampling], RolloutBatch]
    _wanted: dict[str, Wanted] = field(init=False, factory=dict)
    _count: int = field(init=False, default=0)

    def add(self, number: int, prompt: EncodedPrompt, n: int, sampling: Sampling, seed: int) -> None:
        """See there.

        Raises:
            ConfigError: prompt and completion may exceed the context of the model or of the engine.
            DataError: a prompt without tokens.
            RolloutError: the engine failed, or is not running.
        """
        members = [range(n)] if sampling.temperature == 0.0 else [(member,) for member in range(n)]
        requests: dict[str, Any] = {}
        for same, params in zip(members, self.params(prompt, len(members), sampling, seed), strict=True):
            self._count += 1
            requests[f"morl-{self._count}"] = params
            self._wanted[f"morl-{self._count}"] = Wanted(number, same, prompt, sampling)
        with self.running() as engine:
            engine.begin(prompt.token_ids, requests, sampling.temperature or 1.0)

    def take(self, stop: Callable[[], bool]) -> Sequence[tuple[int, int, RolloutBatch]]:
        """See there."""
        if not self._wanted:
            return []
        with self.running() as engine:
            ended = engine.advance(stop)
        taken: list[tuple[int, int, RolloutBatch]] = []
        for name, drawn in ended:
            wanted = self._wanted.pop(name)
            batch = self.batch_of(wanted.prompt, drawn, wanted.sampling)
            taken += [(wanted.number, member, batch) for member in wanted.members]
        return taken

    def close(self) -> None:
        """See there."""
        left, self._wanted = [*self._wanted], {}
        if left:
            with self.running() as engine:
                engine.drop(left)
