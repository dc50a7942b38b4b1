"""Regular expressions under a time limit that holds for the match alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import regex  # type: ignore[import-untyped]

from morl.errors import ConfigError

_T = TypeVar("_T")

_MARGIN = 1.25


def compile_pattern(option: str, pattern: str) -> Any:
    """Compiled by `regex`, which, unlike `re`, lets other threads run while it matches and obeys a time limit.

    Raises:
        ConfigError: it is no regular expression; `option` is the key that says so.
    """
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ConfigError(f"{option} is not a regular expression: {error}; got {pattern!r}") from error


def check_time_limit(seconds: float) -> None:
    """Refuses limits that no match could keep.

    Raises:
        ConfigError: it is not positive.
    """
    if not seconds > 0:
        raise ConfigError(f"time_limit must be positive seconds of processor time; got {seconds!r}")


def within(seconds: float, match: Callable[[float], _T]) -> _T:
    """What `match(timeout)` returns, in at most about `seconds` of this thread's own processor time.

    The timeout of `regex` counts the processor time of all threads of the process together, so that a busy process ends
    a match that has hardly begun.  Where this thread has not had its time when that happens, the match starts again,
    with as much more for the process as this thread's share of it was too small.

    Args:
        seconds: of processor time.
        match: takes a timeout in seconds, as the methods of a compiled pattern do.

    Raises:
        TimeoutError: the match had its time; it may have had a quarter more.
    """
    timeout = seconds * _MARGIN
    while True:
        before = time.thread_time()
        try:
            return match(timeout)
        except TimeoutError:
            used = time.thread_time() - before
            if used >= seconds:
                raise TimeoutError(f"no match within {seconds:g} s of processor time") from None
            timeout *= max(2.0, min(_MARGIN * seconds / max(used, 1e-9), 100.0))
