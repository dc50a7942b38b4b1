"""Several rollout servers as one: work is shared out, and what one leaves undone the others do."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field

from morl.errors import RolloutError
from morl.types import Sampling
from morl_vllm.sampling import Drawn
from morl_vllm.server.client import Server, ServerLost

_log = logging.getLogger(__name__)

REQUESTS = 4
"""Requests that a server works on at once, so that one long completion holds up a part of its work only."""


@define(eq=False)
class Fleet:
    """The servers of one rank.

    Args:
        servers: at least one.
        run: names the run; servers refuse to draw for another one with its weights.
    """

    servers: Sequence[Server]
    run: str
    _alive: list[Server] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._alive = list(self.servers)

    def meet(self) -> int:
        """Asks every server for its status; the smallest of their `max_model_len`.

        Raises:
            ConfigError: a server refuses the key, or is no rollout server.
            RolloutError: none answers.
        """
        lengths: list[int] = []
        _side_by_side(
            [lambda server=server: lengths.append(self._status(server)) for server in self.servers]  # type: ignore[misc]
        )
        self._require_one("answers")
        return min(length for length in lengths if length)

    def load(self, checkpoint: Path, version: int) -> None:
        """Brings all servers to these weights, also those that were lost and answer again.

        Raises:
            RolloutError: a server runs another model, or none is left.
        """
        lost = [server for server in self.servers if server not in self._alive]
        self._alive = list(self.servers)

        def send(server: Server) -> None:
            try:
                server.load(checkpoint, self.run, version)
            except ServerLost as fault:
                self._lose(server, fault, known=server in lost)
            else:
                if server in lost:
                    _log.warning("rollout server %s answers again and has the present weights", server.url)

        _side_by_side([lambda server=server: send(server) for server in self.servers])  # type: ignore[misc]
        self._require_one("took the new weights")

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        seeds: Sequence[int],
        end_ids: frozenset[int],
        version: int,
    ) -> list[list[Drawn]]:
        """Completions of each prompt, from whichever server is free.

        Raises:
            RolloutError: no server is left.
        """
        size = -(-len(prompts) // (REQUESTS * len(self._alive)))
        left = deque(range(first, min(first + size, len(prompts))) for first in range(0, len(prompts), size))
        done: dict[int, list[Drawn]] = {}

        def work(server: Server) -> None:
            while server in self._alive:
                try:
                    rows = left.popleft()
                except IndexError:
                    return
                chosen = [prompts[row] for row in rows]
                try:
                    groups = server.generate(
                        chosen, n, sampling, [seeds[row] for row in rows], end_ids, self.run, version
                    )
                except ServerLost as fault:
                    left.append(rows)
                    self._lose(server, fault)
                    return
                done.update(zip(rows, groups, strict=True))

        # Once more for what a server left that was lost when the others had finished.
        while left:
            self._require_one("is left")
            _side_by_side([lambda server=server: work(server) for server in self._alive * REQUESTS])  # type: ignore[misc]
        return [done[row] for row in range(len(prompts))]

    def _status(self, server: Server) -> int:
        try:
            return int(server.status()["max_model_len"])
        except ServerLost as fault:
            self._lose(server, fault)
            return 0

    def _lose(self, server: Server, fault: ServerLost, known: bool = False) -> None:
        try:
            self._alive.remove(server)
        except ValueError:
            return  # another of its requests was quicker
        if not known:
            _log.warning("%s; its work goes to the others until it answers again", fault)

    def _require_one(self, what: str) -> None:
        if not self._alive:
            urls = ", ".join(server.url for server in self.servers)
            raise RolloutError(f"no rollout server {what}: {urls}; start them, then `morl resume` the run")


def _side_by_side(tasks: Sequence[Callable[[], object]]) -> None:
    """Runs the tasks in threads of their own; raises the first error.

    Daemon threads, and waits that can be interrupted: a server that hangs must not keep Ctrl-C from ending the run.
    """
    errors: list[Exception] = []

    def run(task: Callable[[], object]) -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001 - raised again where the threads are waited for
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,), daemon=True, name="morl-rollout-request") for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
