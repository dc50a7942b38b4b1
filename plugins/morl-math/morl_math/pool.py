"""Shares pairs of answers among worker processes, within a time for each pair and one for all of them.

A thread that computes `9^9^9^9` cannot be stopped, and math-verify limits its own time by SIGALRM, which works in the
main thread only.  So the work is done in processes of `morl_math.process`.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field

from morl.errors import PluginError
from morl_math.process import NotReady, Pair, Worker

_FIRST_SHARE = 6
"""Each pair gets a sixth of its time at first, and the rest when every pair has had that."""


@define(eq=False)
class Pool:
    """Starts workers when they are first needed, keeps them, and replaces those that died.

    May be used by several threads at once, pickled, and used on after a fork: copies start workers of their own.

    Args:
        workers: processes per call of `compare`.
        time_limit: seconds of processor time per comparison.
        memory_limit: MiB of address space per worker.
    """

    workers: int
    time_limit: float
    memory_limit: int
    _idle: list[Worker] = field(factory=list, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _owner: int = field(factory=os.getpid, init=False)

    def __attrs_post_init__(self) -> None:
        weakref.finalize(self, _close_all, self._idle, os.getpid())

    def __reduce__(self) -> tuple[Any, ...]:
        return (Pool, (self.workers, self.time_limit, self.memory_limit))

    def compare(self, pairs: Iterable[Pair], limit: float) -> dict[Pair, bool | Exception]:
        """Whether each pair is equal, or why that is not known.

        The shortest answers come first.  A pair gets an `UnreadableReference`, a `TimeoutError` (its answer takes too
        long, or its turn did not come), or a `RuntimeError` (its worker was ended from outside, or did not start in
        time) in place of a verdict; the others are not affected.

        Args:
            limit: seconds by the clock for all of them; the call takes no longer.

        Raises:
            PluginError: a worker that cannot start.
        """
        batch = _Batch(pairs, self.time_limit, time.monotonic() + limit)
        broken: list[PluginError] = []

        def work() -> None:
            worker = None
            try:
                while not broken and (turn := batch.next()) is not None:
                    worker = worker or self._take()
                    batch.put(*turn, _outcome(worker, *turn, batch.deadline))
                    worker = worker if worker.alive else None
            except NotReady:
                pass
            except PluginError as error:
                broken.append(error)
            finally:
                self._put(worker)

        # Daemons: a trainer that ends does not wait for them, and without it their workers end too.
        count = min(self.workers, len(batch.waiting))
        threads = [threading.Thread(target=work, name="morl-math", daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if broken:
            raise broken[0]
        return batch.all_results(limit)

    def _take(self) -> Worker:
        with self._lock:
            if self._owner != os.getpid():  # forked since: those workers listen to the other process
                self._owner = os.getpid()
                self._idle.clear()
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
                worker.close()
        return Worker(self.memory_limit)

    def _put(self, worker: Worker | None) -> None:
        if worker is not None:
            with self._lock:
                self._idle.append(worker)


class _Batch:
    """The pairs of a call: those whose turn comes, and what became of them."""

    def __init__(self, pairs: Iterable[Pair], time_limit: float, deadline: float) -> None:
        self.deadline = deadline
        self.waiting = sorted(dict.fromkeys(pairs), key=lambda pair: len(pair[1]), reverse=True)
        self._time_limit = time_limit
        self._again: list[Pair] = []
        self._results: dict[Pair, bool | Exception | None] = dict.fromkeys(self.waiting)
        self._started = False
        self._lock = threading.Lock()

    def next(self) -> tuple[Pair, float] | None:
        """The next pair and its seconds of processor time; None when none is left, or no time."""
        with self._lock:
            if time.monotonic() >= self.deadline:
                return None
            if self.waiting:
                return self.waiting.pop(), self._time_limit / _FIRST_SHARE
            return (self._again.pop(0), self._time_limit) if self._again else None

    def put(self, pair: Pair, seconds: float, outcome: bool | Exception) -> None:
        with self._lock:
            self._started = True
            self._results[pair] = outcome
            if isinstance(outcome, TimeoutError) and seconds < self._time_limit:
                self._again.append(pair)

    def all_results(self, limit: float) -> dict[Pair, bool | Exception]:
        late: Exception = TimeoutError(f"all answers together took more than {limit:g} s")
        if not self._started:
            late = RuntimeError(f"no process for mathematics was ready within {limit:g} s")
        return {pair: late if result is None else result for pair, result in self._results.items()}


def _outcome(worker: Worker, pair: Pair, seconds: float, deadline: float) -> bool | Exception:
    """The verdict on a pair, or why there is none."""
    try:
        return worker.compare(pair, seconds, deadline)
    except (PluginError, NotReady):
        raise
    except Exception as error:  # noqa: BLE001 - it belongs to this pair
        return error


def _close_all(workers: Sequence[Worker], owner: int) -> None:
    if os.getpid() == owner:
        for worker in workers:
            worker.close()
