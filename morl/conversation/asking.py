"""Asks many environments side by side, each question under a time limit of its own.

Whoever samples need not wait for the slowest: `take` also gives what has been answered after a while.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from attrs import define, field, frozen

from morl import interrupts
from morl.calls import Call, Loops, Outcome
from morl.errors import RolloutError

MAX_ABANDONED = 32
"""Threads past their time limit that may still be running, of all environments of the run together."""
POLL = 0.5
"""Seconds between two looks at whether the run is to end, for threads that signals do not reach."""


@frozen(eq=False)
class Question:
    """Something that an environment is asked.

    Attributes:
        key: comes back with the answer.
        function: without arguments; what it returns may be awaitable.
        timeout: seconds that it may take from its start; None waits for ever.
        awaited: nothing can be sampled for this conversation before the answer is there.
    """

    key: Any
    function: Callable[[], Any]
    timeout: float | None
    awaited: bool


@frozen(eq=False)
class Answered:
    """A question that was answered, or failed; with a `TimeoutError` where its limit was exceeded."""

    question: Question
    outcome: Outcome
    seconds: float


@define(eq=False)
class Asking:
    """Questions that wait, run, or have been answered.

    Args:
        concurrency: how many run at a time.
    """

    concurrency: int
    _loops: Loops = field(init=False)
    _waiting: deque[tuple[int, Question]] = field(init=False, factory=deque)
    _running: dict[int, tuple[Question, Call]] = field(init=False, factory=dict)
    _ended: SimpleQueue[int] = field(init=False, factory=SimpleQueue)
    _answered: list[Answered] = field(init=False, factory=list)
    _abandoned: list[threading.Thread] = field(init=False, factory=list)
    _number: int = field(init=False, default=0)

    @_loops.default
    def _new_loops(self) -> Loops:
        return Loops("morl-environment-loop")

    @property
    def open(self) -> bool:
        """Whether anything is still to be taken."""
        return bool(self._waiting or self._running or self._answered)

    @property
    def awaiting(self) -> bool:
        """Whether an answer is still to come that something waits for."""
        running = (question for question, _ in self._running.values())
        return any(question.awaited for question in (*running, *(question for _, question in self._waiting)))

    @property
    def answered(self) -> bool:
        """Whether `take` has something to give."""
        self._settle()
        return bool(self._answered)

    def submit(self, question: Question) -> None:
        """Asks, as soon as fewer than `concurrency` questions run."""
        self._number += 1
        self._waiting.append((self._number, question))
        self._start()

    def take(self, patience: float | None, *, ready: bool) -> list[Answered]:
        """What has been answered since the last call.

        Comes back when every question that is awaited has been answered; and otherwise `patience` seconds after there
        was something to go on with, so that one slow environment does not hold the others.

        Args:
            patience: None waits for all.
            ready: there is something to go on with already.

        Raises:
            RolloutError: too many calls go on after their time limit.
            Terminated: the run is to end, and this is not the main thread.
        """
        until: float | None = None
        while True:
            self._settle()
            now = time.perf_counter()
            if until is None and patience is not None and (ready or any(a.question.awaited for a in self._answered)):
                until = now + patience
            if not self.awaiting or (until is not None and now >= until):
                return self._all_answered()
            self._wait(until)

    def drain(self) -> list[Answered]:
        """What is answered next, awaited or not; empty when nothing is left to be asked."""
        self._settle()
        while not self._answered and self.open:
            self._wait(None)
            self._settle()
        return self._all_answered()

    def abandon(self) -> None:
        """Drops what waits, stops what can be stopped, and forgets the rest."""
        self._waiting.clear()
        running, self._running = self._running, {}
        for _, call in running.values():
            call.cancel()
            self._note_stuck(call)
        self._answered.clear()

    def hurry(self, functions: Sequence[Callable[[], Any]], seconds: float) -> list[BaseException]:
        """Calls these side by side, and waits no longer than `seconds` for all of them.

        Returns:
            What they raised, and a `TimeoutError` for each that is left behind.
        """
        ended: SimpleQueue[Call] = SimpleQueue()
        calls = [Call(each, seconds, self._loops.submit, ended.put, "morl-environment") for each in functions]
        until, left = time.perf_counter() + seconds, len(calls)
        while left and (remaining := until - time.perf_counter()) > 0:
            with suppress(Empty):
                ended.get(timeout=remaining)
                left -= 1
        errors: list[BaseException] = []
        for call in calls:
            if call.outcome is None:
                call.cancel()
                errors.append(TimeoutError(f"not done within {seconds:g} s"))
            elif call.outcome.error is not None:
                errors.append(call.outcome.error)
        return errors

    def close(self) -> None:
        """Ends the event loop."""
        self.abandon()
        self._loops.close()

    def _all_answered(self) -> list[Answered]:
        answered, self._answered = self._answered, []
        self._loops.leave_blocked()
        return answered

    def _start(self) -> None:
        while self._waiting and len(self._running) < self.concurrency:
            number, question = self._waiting.popleft()
            call = Call(
                question.function,
                question.timeout,
                self._loops.submit,
                lambda _, number=number: self._ended.put(number),  # type: ignore[misc]
                "morl-environment",
            )
            self._running[number] = (question, call)

    def _wait(self, until: float | None) -> None:
        """Until a call has ended, is past its limit, or `until`; at most `POLL` seconds."""
        interrupts.check(waiting=True)
        limits = [call.deadline for _, call in self._running.values()]
        if until is not None:
            limits.append(until)
        seconds = min(min(limits) - time.perf_counter(), POLL)
        with suppress(Empty):
            self._end(self._ended.get(timeout=max(seconds, 0.0)))

    def _settle(self) -> None:
        """Everything that has ended by now, and everything that is too late."""
        while not self._ended.empty():
            self._end(self._ended.get())
        now = time.perf_counter()
        for number, (_, call) in [*self._running.items()]:
            if call.deadline <= now:
                self._end(number)
        self._start()

    def _end(self, number: int) -> None:
        if number not in self._running:  # it came too late
            return
        question, call = self._running.pop(number)
        outcome = call.outcome
        if outcome is None:
            call.cancel()
            self._note_stuck(call)
            self._check_stuck()
            outcome = Outcome(None, TimeoutError(f"no answer within {question.timeout:g} s"))
        self._answered.append(Answered(question, outcome, time.perf_counter() - call.started))
        self._start()

    def _note_stuck(self, call: Call) -> None:
        stuck = call.stuck()
        self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
        if stuck is not None and stuck not in self._abandoned:
            self._abandoned.append(stuck)

    def _check_stuck(self) -> None:
        if len(self._abandoned) >= MAX_ABANDONED:
            raise RolloutError(
                f"{MAX_ABANDONED} calls of the environment still run after their time limit, and a thread cannot be"
                " stopped from outside; give what they wait for a limit of its own (e.g. the timeout of an HTTP"
                " client), write them `async`, or raise environment.timeout"
            )
