"""Runs the calls of one step side by side, each under its own time limit.

A plain call runs in a thread of its own; what it awaits runs on one event loop, which lives as long as the run, so that
clients and connections survive from step to step and can be shared by rewards.  Threads that outlive their limit hold
memory, and maybe locks, so a reward may leave at most `MAX_ABANDONED` of them behind at a time; see `morl.calls`.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from attrs import define, field, frozen

from morl.calls import Call, Loops, Outcome
from morl.errors import RewardError

MAX_ABANDONED = 4


@frozen(eq=False)
class Work:
    """What one entry of the config has to do in a step.

    Attributes:
        calls: functions without arguments.
        timeout: seconds that each call may take from its own start; None waits for ever.
        concurrency: calls at a time.
    """

    calls: Sequence[Callable[[], Any]]
    timeout: float | None
    concurrency: int = 1


@frozen(eq=False)
class Done:
    """What became of it.

    Attributes:
        outcomes: in the order of the calls.
        seconds: until the last of them had ended.
    """

    outcomes: tuple[Outcome, ...]
    seconds: float


class Workers:
    """Threads and the event loop of one scorer."""

    def __init__(self) -> None:
        self._loops = Loops("morl-reward-loop")
        self._abandoned: dict[str, list[threading.Thread]] = {}

    def run(self, work: Mapping[str, Work]) -> dict[str, Done]:
        """The work of all entries at once, by name.

        Raises:
            RewardError: an entry has left `MAX_ABANDONED` threads behind that are still running.
        """
        for name in work:
            if self._is_full(name):
                raise RewardError(
                    f"reward {name!r}: {MAX_ABANDONED} earlier calls still run after their time limit, and a thread"
                    " cannot be stopped from outside; give the function a limit of its own (e.g. the timeout of its"
                    " HTTP client), set `isolate: process` (of the reward `python`), or raise the reward's `timeout`"
                )
        finished: SimpleQueue[tuple[_Lane, int]] = SimpleQueue()
        lanes = [_Lane(name, each, self._loops.submit, finished) for name, each in work.items()]
        try:
            self._drive(lanes, finished)
        except BaseException:  # Ctrl-C in the middle of a wait
            for lane in lanes:
                for call in lane.running.values():
                    call.cancel()
            raise
        self._loops.leave_blocked()
        return {lane.name: lane.done() for lane in lanes}

    def close(self) -> None:
        """Stop the event loop; cancels what still runs on it."""
        self._loops.close()

    def _drive(self, lanes: Sequence[_Lane], finished: SimpleQueue[tuple[_Lane, int]]) -> None:
        for lane in lanes:
            lane.start()
        while any(lane.running for lane in lanes):
            deadline = min(call.deadline for lane in lanes for call in lane.running.values())
            remaining = max(0.0, deadline - time.perf_counter())
            try:
                lane, number = finished.get(timeout=min(remaining, threading.TIMEOUT_MAX))
            except Empty:
                pass
            else:
                call = lane.running.get(number)  # None: it came too late
                if call is not None and call.outcome is not None:
                    lane.settle(number, call.outcome)
                    lane.start()
                if remaining > 0:
                    continue
            now = time.perf_counter()
            for lane in lanes:
                for number, call in [*lane.running.items()]:
                    if call.deadline <= now:
                        lane.settle(number, call.outcome or self._abandon(lane.name, call))
                if lane.waiting and self._is_full(lane.name):
                    lane.refuse()
                lane.start()

    def _is_full(self, name: str) -> bool:
        alive = [thread for thread in self._abandoned.get(name, []) if thread.is_alive()]
        self._abandoned[name] = alive
        return len(alive) >= MAX_ABANDONED

    def _abandon(self, name: str, call: Call) -> Outcome:
        """Gives up on a call that is past its limit."""
        call.cancel()
        stuck = call.stuck()
        message = f"no answer within {call.deadline - call.started:g} s"
        if stuck is not None:
            abandoned = self._abandoned.setdefault(name, [])
            if stuck not in abandoned:
                abandoned.append(stuck)
            message += f"; it cannot be stopped and still runs in the background ({len(abandoned)} of {MAX_ABANDONED})"
        if call.loop is not None and stuck is not None:
            message += "; the event loop that all async rewards share was blocked, by this or another async reward"
        return Outcome(None, TimeoutError(message))


@define(eq=False)
class _Lane:
    """The calls of one entry: those that wait, run, and are done."""

    name: str
    work: Work
    submit: Any
    finished: SimpleQueue[tuple[_Lane, int]]
    running: dict[int, Call] = field(factory=dict, init=False)
    waiting: deque[int] = field(init=False)
    _outcomes: dict[int, Outcome] = field(factory=dict, init=False)
    _started: float = field(factory=time.perf_counter, init=False)
    _ended: float = field(default=math.nan, init=False)

    def __attrs_post_init__(self) -> None:
        self.waiting = deque(range(len(self.work.calls)))

    def start(self) -> None:
        """As many calls as may run at a time."""
        while self.waiting and len(self.running) < self.work.concurrency:
            number = self.waiting.popleft()
            self.running[number] = Call(
                self.work.calls[number],
                self.work.timeout,
                self.submit,
                lambda _, number=number: self.finished.put((self, number)),  # type: ignore[misc]
            )

    def settle(self, number: int, outcome: Outcome) -> None:
        del self.running[number]
        self._outcomes[number] = outcome
        self._ended = time.perf_counter()

    def refuse(self) -> None:
        """What still waits is not begun: too much of what was begun goes on."""
        error = TimeoutError(f"not asked, because {MAX_ABANDONED} earlier calls still run after their time limit")
        self._outcomes |= {number: Outcome(None, error) for number in self.waiting}
        self.waiting.clear()

    def done(self) -> Done:
        return Done(tuple(self._outcomes[number] for number in sorted(self._outcomes)), self._ended - self._started)
