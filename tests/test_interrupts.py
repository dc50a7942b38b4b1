"""Waits of the main thread answer a signal that has not woken it.

Here another thread is given the signal, so that nothing wakes the main one; the same happens when a signal comes
between the last bytecode before a wait and the wait.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from morl import interrupts


@pytest.fixture
def unwoken() -> Iterator[None]:
    """Ctrl-C, shortly after the test has begun to wait."""
    waits = threading.Event()

    def signalled() -> None:
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        waits.wait()

    thread = threading.Thread(target=signalled, daemon=True)
    thread.start()
    yield
    waits.set()


@pytest.mark.usefixtures("unwoken")
def test_waiting_for_work_answers_a_signal() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupts.until_done([Future()])


@pytest.mark.usefixtures("unwoken")
def test_waiting_for_threads_answers_a_signal() -> None:
    never = threading.Event()
    thread = threading.Thread(target=never.wait, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        interrupts.until_ended([thread])
    never.set()


def test_work_is_waited_for_however_it_ends() -> None:
    done: Future[int] = Future()
    failed: Future[int] = Future()
    threading.Timer(0.05, done.set_result, [1]).start()
    threading.Timer(0.1, failed.set_exception, [TimeoutError("its own")]).start()
    interrupts.until_done(one for one in (done, failed))
    assert done.done()
    assert isinstance(failed.exception(), TimeoutError)
