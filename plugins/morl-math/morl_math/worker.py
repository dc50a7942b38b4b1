"""A process that compares answers by algebra; started by `morl_math.pool`, one per worker.

Runs as a script and imports nothing of morl itself: it starts in the time that sympy takes.  It imports what it needs
once and forks a child that does the work, so that a comparison which is ended costs a fork and not another start.  The
child reads one JSON list `[reference, answer, seconds]` per line.  It answers `reference` when it has read the
reference, then `equal`, `different` or `unreadable reference`; its parent answers `ended by <signal>` in its place.
When the input ends, so do both.

A comparison that exceeds its time is ended by the system: the default action of SIGPROF is to end the process, whatever
C code it is in, and even if the process that asked is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import json
import os
import resource
import select
import signal
import sys
from fractions import Fraction
from typing import NoReturn

_FULL = 3
"""Exit code of a child that has used half of its memory."""
_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
_WARM_UP = (
    r"\frac{1}{2}\sqrt{3}",
    r"2x^{2}-3x+\frac{y}{4}",
    r"\sin x+\log_{2} 8",
    r"(x+1)(x-1)",
    r"e^{i\pi}",
    r"a_{1}n!",
)
"""Read before the fork: the parser learns as it reads, and each child has learnt it."""


def main(memory_limit: int) -> None:
    """Answers until the input ends.

    Args:
        memory_limit: bytes of address space.
    """
    answers = _own_output()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our input
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    try:
        from morl_math.algebra import same

        for text in _WARM_UP:
            same(text, text + "+0", Fraction(1))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        _send(answers, f"cannot start: {type(error).__name__}: {error}")
        return
    gc.collect()
    gc.freeze()
    _send(answers, "ready")
    while True:
        child = os.fork()
        if child == 0:
            _serve(answers, memory_limit)
        status = _status(child)
        if os.WIFSIGNALED(status):
            _send(answers, f"ended by {signal.Signals(os.WTERMSIG(status)).name}")
        elif os.WEXITSTATUS(status) != _FULL:
            return


def _status(child: int) -> int:
    """How the child ended.  It is ended where the input is closed while it works: nobody waits for its answer."""
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(sys.stdin.fileno(), 0)  # hears of the other end's closing only
    if all(descriptor != ended for descriptor, _ in poll.poll()):
        os.kill(child, signal.SIGKILL)
    os.close(ended)
    return os.waitpid(child, 0)[1]


def _serve(answers: int, memory_limit: int) -> NoReturn:
    """The work of a child; it ends with its parent."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    code = 0
    try:
        for line in sys.stdin:
            if os.getppid() != parent:
                break
            reference, answer, seconds = json.loads(line)
            _send(answers, _verdict(answers, reference, answer, seconds))
            # sympy keeps what it made, and swallows memory errors: short of memory it would call right answers wrong.
            if _resident() > memory_limit / 2:
                code = _FULL
                break
    finally:
        os._exit(code)


def _verdict(answers: int, reference: str, answer: str, seconds: float) -> str:
    """`equal`, `different` or `unreadable reference`; each of the two texts has its own time."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    readable = _is_readable(reference)
    signal.setitimer(signal.ITIMER_PROF, 0)
    if not readable:
        return "unreadable reference"
    _send(answers, "reference")
    signal.setitimer(signal.ITIMER_PROF, seconds)
    equal = _is_equal(reference, answer)
    signal.setitimer(signal.ITIMER_PROF, 0)
    return "equal" if equal else "different"


@functools.lru_cache(maxsize=512)
def _is_readable(reference: str) -> bool:
    from morl_math.algebra import check
    from morl_math.grading import outline, tidy

    try:
        check(outline(tidy(reference).text))
    except Exception:  # noqa: BLE001 - sympy raises what it likes
        return False
    return True


def _is_equal(reference: str, answer: str) -> bool:
    from morl_math.algebra import SympyAlgebra
    from morl_math.grading import is_right, tidy

    try:
        return is_right(tidy(reference), tidy(answer), SympyAlgebra())
    except Exception:  # noqa: BLE001 - e.g. an answer of 1/0
        return False


def _resident() -> int:
    """Bytes of memory in use.  Not `ru_maxrss`, which begins with that of the process that started this one."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _own_output() -> int:
    """The pipe to the parent; what libraries print goes nowhere."""
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def _send(answers: int, message: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(answers, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
