"""A process that compares answers with math-verify; started by `morl_math.pool`, one per worker.

Runs as a script and imports nothing of morl: it starts in the time that sympy takes.  Reads one JSON list
`[reference, answer]` per line and answers each with one JSON list, the verdict and whether it goes on.  When its input
ends, so does it.

A comparison that exceeds its time is ended by the system: the default action of SIGPROF is to end the process, whatever
C code it is in, and even if the process that asked is gone.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import resource
import signal
import sys
from typing import Any, TextIO

_SIDE_BY_SIDE = re.compile(r"(?<!\\frac )(?<!\\binom )\d +\d")
"""Two numbers with nothing between them, of which math-verify makes a sum or a product: 3 of `1 2`."""


def main(time_limit: float, memory_limit: int) -> None:
    """Answers until the input ends.

    Args:
        time_limit: seconds of processor time per comparison.
        memory_limit: bytes of address space.
    """
    answers = _own_output()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our input
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    try:
        import math_verify  # noqa: F401
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        _send(answers, f"cannot start: {type(error).__name__}: {error}", False)
        return
    # It warns that its own time limits are off.
    logging.disable(logging.CRITICAL)
    _send(answers, "ready")
    for line in sys.stdin:
        reference, answer = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, time_limit)
        verdict = compare(reference, answer)
        signal.setitimer(signal.ITIMER_PROF, 0)
        # sympy keeps what it made; short of memory it would call right answers wrong, for it swallows memory errors.
        full = _resident() > memory_limit / 2
        _send(answers, verdict, not full)
        if full:
            return


def compare(reference: str, answer: str) -> str:
    """`equal`, `different` or `unreadable reference`."""
    from math_verify import verify

    try:
        expected = _parse_reference(reference)
        if expected is None:
            return "unreadable reference"
        given = expected if answer == reference else _parse(answer)
        if given is None:
            return "different"
        # `x > 3` and `(3, oo)` are the same answer, whichever of them is the reference.
        options = {"allow_set_relation_comp": True, "timeout_seconds": None, "raise_on_error": True}
        return "equal" if verify(expected, given, **options) else "different"
    except Exception:  # noqa: BLE001 - e.g. an answer of 1/0
        return "different"


@functools.lru_cache(maxsize=256)
def _parse_reference(text: str) -> Any:
    """An expression that at least equals itself: infinities and the like do not."""
    from math_verify import verify

    try:
        expression = _parse(text)
        same = expression is not None and verify(expression, expression, timeout_seconds=None, raise_on_error=True)
    except Exception:  # noqa: BLE001
        return None
    return expression if same else None


@functools.lru_cache(maxsize=256)
def _parse(text: str) -> Any:
    """The text as one sympy expression, or None.

    Only the reader of LaTeX is used: the one for plain expressions evaluates Python.
    """
    from math_verify import LatexExtractionConfig, parse

    if _SIDE_BY_SIDE.search(text):
        return None
    try:
        found = parse(
            f"${text}$",
            extraction_config=[LatexExtractionConfig()],
            fallback_mode="no_fallback",
            parsing_timeout=None,
            raise_on_error=True,
        )
    except Exception:  # noqa: BLE001 - its parser raises what it likes
        return None
    return found[0] if found and not isinstance(found[0], str) else None


def _resident() -> int:
    """Bytes of memory in use.  Not `ru_maxrss`, which begins with that of the process that started this one."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _own_output() -> TextIO:
    """The pipe to the parent; what libraries print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def _send(answers: TextIO, message: str, goes_on: bool = True) -> None:
    answers.write(json.dumps([message, goes_on]) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
