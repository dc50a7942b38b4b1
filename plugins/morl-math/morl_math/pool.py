"""Worker processes that compare answers, and are ended when an expression takes too long or too much memory.

math-verify limits its own time by SIGALRM, which works in the main thread only, while morl calls reward providers in
other threads; and a thread that computes `9^9^9^9` cannot be stopped at all.  So the work is done in processes: plain
child processes that run one script, neither forks of the trainer (which has threads and maybe CUDA) nor copies of its
main module.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from attrs import define, field

from morl.errors import PluginError

Pair: TypeAlias = tuple[str, str]
"""Reference and answer."""

_SCRIPT = Path(__file__).with_name("worker.py")
_START_LIMIT = 120.0
"""Seconds a worker may take to start, on a machine that does much else."""
_PATIENCE = 10.0
"""A worker limits its own processor time; after this many times as much by the clock it is given up."""
_SHARE = 4
"""Pairs that a worker takes at once: few, or one prompt with many costly answers would keep a single worker busy."""


class UnreadableReference(ValueError):
    """A reference answer that cannot be read."""


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
    _idle: list[_Worker] = field(factory=list, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _owner: int = field(factory=os.getpid, init=False)

    def __attrs_post_init__(self) -> None:
        weakref.finalize(self, _close_all, self._idle, os.getpid())

    def __reduce__(self) -> tuple[Any, ...]:
        return (Pool, (self.workers, self.time_limit, self.memory_limit))

    def compare(self, pairs: Iterable[Pair], limit: float) -> dict[Pair, bool | Exception]:
        """Whether each pair is equal, or why that is not known.

        A pair gets an `UnreadableReference`, a `TimeoutError`, or a `RuntimeError` (its worker died otherwise) in place
        of a verdict; the others are not affected.

        Args:
            limit: seconds by the clock for all of them; pairs whose turn has not come by then get a `TimeoutError`.

        Raises:
            PluginError: a worker that cannot start.
        """
        deadline = time.monotonic() + limit
        queue = _shares(pairs)
        results: dict[Pair, bool | Exception] = {}
        broken: list[PluginError] = []

        def work() -> None:
            worker = None
            try:
                while not broken:
                    for pair in queue.get_nowait():
                        if time.monotonic() < deadline:
                            worker, results[pair] = self._one(worker, pair)
                        else:
                            results[pair] = TimeoutError(f"all answers together took more than {limit:g} s")
            except Empty:
                pass
            except PluginError as error:
                broken.append(error)
            finally:
                self._put(worker)

        # Daemons: a trainer that ends does not wait for them, and without it their workers end too.
        count = min(self.workers, queue.qsize())
        threads = [threading.Thread(target=work, name="morl-math", daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if broken:
            raise broken[0]
        return results

    def _one(self, worker: _Worker | None, pair: Pair) -> tuple[_Worker | None, bool | Exception]:
        """The verdict on a pair, and the worker if it is still there."""
        verdict: bool | Exception
        try:
            worker = worker or self._take()
            verdict = worker.compare(pair)
        except PluginError:
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to this pair
            verdict = error
        return (worker if worker is not None and worker.alive else None), verdict

    def _take(self) -> _Worker:
        with self._lock:
            if self._owner != os.getpid():  # forked since: those workers listen to the other process
                self._owner = os.getpid()
                self._idle.clear()
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
                worker.close()
        return _Worker(self.time_limit, self.memory_limit)

    def _put(self, worker: _Worker | None) -> None:
        if worker is not None:
            with self._lock:
                self._idle.append(worker)


def _shares(pairs: Iterable[Pair]) -> SimpleQueue[list[Pair]]:
    """Each pair once; some of those that share a reference together, for a worker remembers it."""
    by_reference: dict[str, dict[Pair, None]] = {}
    for pair in pairs:
        by_reference.setdefault(pair[0], {})[pair] = None
    queue: SimpleQueue[list[Pair]] = SimpleQueue()
    for group in map(list, by_reference.values()):
        for start in range(0, len(group), _SHARE):
            queue.put(group[start : start + _SHARE])
    return queue


class _Worker:
    """One child process."""

    def __init__(self, time_limit: float, memory_limit: int) -> None:
        self._time_limit = time_limit
        # -P: the script's folder does not become a place to import from.
        command = [sys.executable, "-P", str(_SCRIPT), str(time_limit), str(memory_limit * 2**20)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._buffer = b""
        try:
            greeting = self._message(_START_LIMIT)
        except (EOFError, TimeoutError) as error:
            greeting = f"cannot start: {type(error).__name__} {error}"
        if greeting != "ready":
            self.close()
            raise PluginError(f"the process for math-verify {greeting}; its command: {shlex.join(command)}")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def compare(self, pair: Pair) -> bool:
        """Whether the two are equal.

        Raises:
            UnreadableReference, TimeoutError, RuntimeError: why that is not known; after the latter two the worker is
                closed.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(pair).encode() + b"\n")
            self._process.stdin.flush()
            verdict = self._message(_PATIENCE * self._time_limit)
        except (EOFError, BrokenPipeError, TimeoutError) as error:
            self.close()
            about = f"the answer {pair[1]!r:.200} could not be compared with {pair[0]!r:.200}"
            if isinstance(error, TimeoutError) or self._process.returncode == -signal.SIGPROF:
                raise TimeoutError(f"{about} within {self._time_limit:g} s") from None
            raise RuntimeError(f"{about}: its process ended with exit code {self._process.returncode}") from None
        if verdict == "unreadable reference":
            raise UnreadableReference(f"math-verify cannot read the reference answer {pair[0]!r:.200}")
        return verdict == "equal"

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()

    def _message(self, limit: float) -> str:
        """The next message; closes a worker that says it was its last.

        Raises:
            EOFError: the process ended.
            TimeoutError: no message within `limit` seconds.
        """
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        ready = select.poll()
        ready.register(output, select.POLLIN)
        deadline = time.monotonic() + limit
        while b"\n" not in self._buffer:
            if not ready.poll(1000 * max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"the process for math-verify did not answer within {limit:g} s")
            received = os.read(output, 65536)
            if not received:
                self._process.wait()
                raise EOFError
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        message, goes_on = json.loads(line)
        if not goes_on:
            self.close()
        return str(message)


def _close_all(workers: Sequence[_Worker], owner: int) -> None:
    if os.getpid() == owner:
        for worker in workers:
            worker.close()
