"""Several rollout servers as one: work is shared out, and what one leaves undone the others do."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from attrs import define, field

from morl import interrupts
from morl.errors import ConfigError, MorlError, RolloutError
from morl.runtime.exchange import Exchange
from morl_vllm.sampling import Drawn
from morl_vllm.server.client import Line, Server, ServerLost
from morl_vllm.server.request import GenerateRequest

T = TypeVar("T")
_log = logging.getLogger(__name__)

REQUESTS = 4
"""Requests that a server works on at once, so that one long completion holds up a part of its work only."""


@define(eq=False)
class Fleet:
    """The servers of a run.  Each rank brings the weights to some of them, and all ranks draw from all.

    Args:
        servers: at least one; the same on every rank.
        run: names the run; servers refuse to draw for another one with its weights.  The same on every rank.
        max_staleness: how many versions older weights may be that a server may draw with where it missed the last ones.
        ranks: in a group of their own, for a sync may happen in a thread beside the loop.
    """

    servers: Sequence[Server]
    run: str
    max_staleness: int = 0
    ranks: Exchange = field(factory=Exchange)
    _versions: dict[str, int] = field(init=False, factory=dict)
    """Of the weights of each server that is there, by its URL."""
    _lost: set[str] = field(init=False, factory=set)
    _losing: threading.Lock = field(init=False, factory=threading.Lock)
    _asked: dict[str, int] = field(init=False, factory=dict)
    """Requests that each server has to answer for `ask`, by its URL."""

    @property
    def sends(self) -> bool:
        """Whether this rank brings weights to a server."""
        return bool(self._mine)

    def meet(self) -> int:
        """Asks every server for its status; the smallest of their `max_model_len`.  Every rank must call.

        Raises:
            ConfigError: a server refuses the key, or is no rollout server.
            RolloutError: none answers.
        """
        lengths: list[int] = []

        def ask(server: Server) -> None:
            try:
                lengths.append(int(server.status()["max_model_len"]))
            except ServerLost as fault:
                self._lose(server, fault)

        def ask_all() -> int:
            _side_by_side(ask, self.servers)
            if not lengths:
                raise self._none("answers", "start them with `morl serve-rollouts CONFIG`")
            return min(lengths)

        return min(self._on_all_ranks(ask_all))

    def load(self, checkpoint: Path, version: int) -> None:
        """Brings all servers to these weights, also those that were lost and answer again.  Every rank must call.

        Args:
            checkpoint: need not exist where this rank has nothing to send.

        Raises:
            RolloutError: a server runs another model, or none is left.
        """
        # When all have come here, nobody draws with older weights any more.
        lost = {url for urls in self.ranks.gather(self._lost) for url in urls}
        loaded: list[str] = []

        def send(server: Server) -> None:
            try:
                if server.url in lost:
                    server.status()  # which a server that hangs does not answer either, but sooner
                server.load(checkpoint, self.run, version)
            except (ServerLost, ConfigError) as fault:  # one that came back wrongly started is no reason to end the run
                self._lose(server, fault, keep=version - self.max_staleness)
            else:
                loaded.append(server.url)
                if server.url in lost:
                    _log.warning("rollout server %s answers again and has the present weights", server.url)

        def send_mine() -> list[str]:
            _side_by_side(send, self._mine)
            return loaded

        for urls in self._on_all_ranks(send_mine):
            self._versions |= dict.fromkeys(urls, version)
        self._lost = {server.url for server in self.servers if self._versions.get(server.url) != version}
        if not self._able(version - self.max_staleness):
            raise self._none("took the new weights")

    def generate(self, request: GenerateRequest) -> tuple[list[list[Drawn]], list[int]]:
        """Completions of each prompt, from whichever server is free, and the version of the weights that drew them.

        Raises:
            RolloutError: no server is left.
        """
        prompts = len(request.prompts)
        size = -(-prompts // (REQUESTS * max(len(self._able(request.oldest)), 1)))
        left = deque(range(first, min(first + size, prompts)) for first in range(0, prompts, size))
        done: dict[int, tuple[list[Drawn], int]] = {}

        def work(server: Server) -> None:
            while server in self._able(request.oldest):
                try:
                    rows = left.popleft()
                except IndexError:
                    return
                try:
                    groups, version = server.generate(request.part(rows))
                except ServerLost as fault:
                    left.append(rows)
                    self._lose(server, fault)
                    return
                done.update({row: (group, version) for row, group in zip(rows, groups, strict=True)})

        # Once more for what a server left that was lost when the others had finished.
        while left:
            able = self._able(request.oldest)
            if not able:
                raise self._none("is left")
            _side_by_side(work, able * REQUESTS)
        groups, versions = zip(*(done[row] for row in range(prompts)), strict=True)
        return list(groups), list(versions)

    def ask(self, request: GenerateRequest, line: Line) -> tuple[list[list[Drawn]], list[int]]:
        """As `generate`, of one prompt, from the server that has the fewest of these to answer; may be called by many
        threads at a time.

        Raises:
            HungUp: it was called off by the line.
            RolloutError: no server is left.
        """
        while able := self._able(request.oldest):
            with self._losing:
                server = min(able, key=lambda one: self._asked.get(one.url, 0))
                self._asked[server.url] = self._asked.get(server.url, 0) + 1
            try:
                groups, version = server.generate(request, line)
                return groups, [version]
            except ServerLost as fault:
                self._lose(server, fault)
            finally:
                with self._losing:
                    self._asked[server.url] -= 1
        raise self._none("is left")

    @property
    def _mine(self) -> Sequence[Server]:
        return self.servers[self.ranks.rank :: self.ranks.size]

    def _able(self, oldest: int) -> list[Server]:
        """Those whose weights will do; every rank begins with another one."""
        first = self.ranks.rank % len(self.servers)
        servers = [*self.servers[first:], *self.servers[:first]]
        return [server for server in servers if self._versions.get(server.url, oldest - 1) >= oldest]

    def _lose(self, server: Server, fault: MorlError, keep: int | None = None) -> None:
        """Does without the server, unless its weights are of version `keep` at least."""
        with self._losing:
            version = self._versions.get(server.url)
            if keep is None or version is None or version < keep:
                self._versions.pop(server.url, None)
                then = "its work goes to the others until it answers again"
            else:
                then = f"until it takes new ones it may draw with weights version {version}"
            if server.url in self._lost:
                return  # another of its requests was quicker
            self._lost.add(server.url)
        _log.warning("%s; %s", fault, then)

    def _none(self, what: str, then: str = "start them, then `morl resume` the run") -> RolloutError:
        urls = ", ".join(server.url for server in self.servers)
        return RolloutError(f"no rollout server {what}: {urls}; {then}")

    def _on_all_ranks(self, act: Callable[[], T]) -> list[T]:
        """What it gives on each rank; an error on one is raised on all, for the others would wait for it."""
        outcome: T | MorlError
        try:
            outcome = act()
        except MorlError as error:
            outcome = error
        results: list[T] = []
        for one in self.ranks.gather(outcome):
            if isinstance(one, MorlError):
                raise one
            results.append(one)
        return results


def _side_by_side(task: Callable[[Server], object], servers: Sequence[Server]) -> None:
    """Runs the task for every server in a thread of its own; raises the first error.

    Daemon threads, and waits that can be interrupted: a server that hangs must not keep Ctrl-C from ending the run.
    """
    errors: list[Exception] = []

    def run(server: Server) -> None:
        try:
            task(server)
        except Exception as error:  # noqa: BLE001 - raised again where the threads are waited for
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,), daemon=True, name="morl-rollout-request") for one in servers]
    for thread in threads:
        thread.start()
    interrupts.until_ended(threads)
    if errors:
        raise errors[0]
