"""Contexts that rollout servers sample side by side, which others may join: the stream of the backend `vllm-server`."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias

from attrs import define, evolve, field, frozen

from morl import interrupts
from morl.errors import MorlError, RolloutError
from morl.types import EncodedPrompt, RolloutBatch, Sampling
from morl_vllm.sampling import Drawn
from morl_vllm.server.client import HungUp, Line
from morl_vllm.server.fleet import Fleet
from morl_vllm.server.request import GenerateRequest

MOST = 256
"""Requests that are on their way at a time; an engine draws as many side by side by default."""
POLL = 0.05
"""Seconds between two looks at whether somebody else wants to be heard."""

RequestOf: TypeAlias = Callable[[EncodedPrompt, int, Sampling, int], GenerateRequest]


@frozen(eq=False)
class Wanted:
    """A request of a server: one completion, or at temperature 0 all of a context, which are the same."""

    number: int
    members: Sequence[int]
    prompt: EncodedPrompt
    sampling: Sampling
    request: GenerateRequest


Ended: TypeAlias = tuple[Wanted, Drawn, int] | Exception


@define(eq=False)
class ServerStream:
    """See `morl.hookspecs.RolloutStream`.

    Every completion is a request of its own, so it is there when it has ended, and not when the last of its prompt has.
    What a server leaves undone the others do.

    Args:
        fleet: the servers.
        request_of: a request of n completions of a context, by (context, n, sampling, seed).
        batch_of: a completion, as morl hands it on, by (context, completion, sampling, version of the weights).
    """

    fleet: Fleet
    request_of: RequestOf
    batch_of: Callable[[EncodedPrompt, Drawn, Sampling, int], RolloutBatch]
    _waiting: deque[Wanted] = field(init=False, factory=deque)
    _ended: SimpleQueue[Ended] = field(init=False, factory=SimpleQueue)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)
    _workers: int = field(init=False, default=0)
    _left: int = field(init=False, default=0)
    _line: Line = field(init=False, factory=Line)

    def add(self, number: int, prompt: EncodedPrompt, n: int, sampling: Sampling, seed: int) -> None:
        """See there.

        Raises:
            ConfigError: prompt and completion may exceed the context of the model or of a server.
            DataError: a prompt without tokens.
            RolloutError: the backend is not running.
        """
        members = [range(n)] if sampling.temperature == 0.0 else [range(member, member + 1) for member in range(n)]
        request = self.request_of(prompt, 1, sampling, seed)
        for same in members:
            wanted = Wanted(number, same, prompt, sampling, evolve(request, member=same[0]))
            with self._lock:
                self._waiting.append(wanted)
                self._left += 1
                begins = self._workers < MOST
                self._workers += begins
            if begins:
                # Daemon threads: a server that hangs must not keep Ctrl-C from ending the run.
                threading.Thread(target=self._work, daemon=True, name="morl-rollout-request").start()

    def take(self, stop: Callable[[], bool]) -> Sequence[tuple[int, int, RolloutBatch]]:
        """See there.

        Raises:
            RolloutError: no server is left.
        """
        ended: list[tuple[int, int, RolloutBatch]] = []
        while self._left and not ended and not stop():
            interrupts.check()
            with suppress(Empty):
                ended += self._read(self._ended.get(timeout=POLL))
        while self._left and not self._ended.empty():
            ended += self._read(self._ended.get())
        return ended

    def close(self) -> None:
        """See there; servers stop to draw."""
        with self._lock:
            self._waiting.clear()
            self._left = 0
        self._line.hang_up()

    def _read(self, ended: Ended) -> list[tuple[int, int, RolloutBatch]]:
        if isinstance(ended, Exception):
            raise ended
        wanted, drawn, version = ended
        self._left -= 1
        batch = self.batch_of(wanted.prompt, drawn, wanted.sampling, version)
        return [(wanted.number, member, batch) for member in wanted.members]

    def _work(self) -> None:
        """Has one request after another answered, as long as there are any."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._workers -= 1
                    return
                wanted = self._waiting.popleft()
            try:
                ((drawn, *_),), (version,) = self.fleet.ask(wanted.request, self._line)
                self._ended.put((wanted, drawn, version))
            except HungUp:
                continue
            except MorlError as error:
                self._ended.put(error)
            except Exception as error:  # noqa: BLE001 - raised where somebody listens
                self._ended.put(RolloutError(f"a rollout server was not understood: {type(error).__name__}: {error}"))
