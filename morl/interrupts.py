"""Ctrl-C and SIGTERM: answered wherever the process is, except in the middle of what must be finished.

A scheduler gives a process some 30 seconds between SIGTERM and SIGKILL, and a step may take minutes.  So the handler
raises at once, as Python does for Ctrl-C; the few places where state would be torn apart defer it.  Threads beside the
main one, which signals never reach, ask `check` between two of their steps.

Python calls a handler when the main thread is back from native code, and a rank that waits for another one is not.  So
what must not wait for that is done in a thread that the system wakes.  A signal that comes right before the main thread
begins to wait for another one does not end that wait, so nothing waits in one piece: `until_done` and `until_ended`.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SLICE = 0.5  # seconds after which the main thread looks for a signal that has not woken it


class Terminated(SystemExit):
    """SIGTERM came."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class _State:
    def __init__(self) -> None:
        self.answered = False
        self.terminating = threading.Event()
        self.depth = 0
        self.pending: BaseException | None = None
        self.bell: socket.socket | None = None


_state = _State()


@contextmanager
def deferred() -> Iterator[None]:
    """Within it no signal interrupts the main thread; one that came is raised at the end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
    if not _state.depth and _state.pending is not None:
        pending, _state.pending = _state.pending, None
        raise pending


def check(*, waiting: bool = False) -> None:
    """Ends a thread beside the main one when there is no time for it to finish.

    Args:
        waiting: it only waits for what may never come, so that Ctrl-C ends it as well, which else is patient.

    Raises:
        Terminated: SIGTERM came, or what else ends it.
    """
    if (
        _state.terminating.is_set() or (waiting and _state.answered)
    ) and threading.current_thread() is not threading.main_thread():
        raise Terminated


def until_done(works: Iterable[Future[Any]]) -> None:
    """Waits for all of them, however they end, and answers signals meanwhile."""
    waiting = {*works}
    while waiting:
        waiting = wait(waiting, _SLICE).not_done


def until_ended(threads: Iterable[threading.Thread]) -> None:
    """Waits for all of them, and answers signals meanwhile."""
    for thread in threads:
        while thread.is_alive():
            thread.join(_SLICE)


def listen(reason: Callable[[int], BaseException], at_once: Callable[[], object] | None = None) -> None:
    """Answers SIGINT and SIGTERM from now on, the first of them only, with the exception that `reason` gives.

    Only the main thread may set handlers; elsewhere nothing happens.

    Args:
        reason: called in the main thread, with the number of the signal.
        at_once: called in a thread of its own when SIGTERM comes, even while the main thread is in native code.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    over()

    def handle(number: int, frame: FrameType | None) -> None:
        if _state.answered:
            return  # What was asked for is under way.
        _state.answered = True
        if number == signal.SIGTERM:
            _state.terminating.set()
        error = reason(number)
        if _state.depth:
            _state.pending = error
        else:
            raise error

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as for what a shell starts in the background
            signal.signal(number, handle)
    if at_once is not None:
        _state.bell = _bell(at_once)


def note_sigterm(noted: Callable[[], object]) -> None:
    """From now on SIGTERM does nothing but call `noted`, in the main thread, which may set handlers alone."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: noted())


def over() -> None:
    """The run has ended, however it did: threads of the next one need not stop."""
    _state.terminating.clear()
    _state.answered, _state.pending = False, None
    if _state.bell is not None and threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
        _state.bell.close()  # which ends its thread
        _state.bell = None


def _bell(at_once: Callable[[], object]) -> socket.socket:
    """What the system rings with the number of every signal that is handled here."""
    listening, bell = socket.socketpair()
    bell.setblocking(False)

    def wait() -> None:
        with listening:
            while numbers := listening.recv(64):
                if signal.SIGTERM in numbers:
                    at_once()

    threading.Thread(target=wait, name="morl-signals", daemon=True).start()
    signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    return bell
