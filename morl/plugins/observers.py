"""Observers are given copies of their own, and their errors bear their plugin's name."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pluggy

from morl.errors import PluginError, is_theirs, told

T = TypeVar("T")


class ObserverError(PluginError):
    """An observer raised; the message names its plugin."""


def guard(implementation: pluggy.HookImpl, hook: str, label: str) -> None:
    """Puts copies and names around a function that pluggy calls; what pluggy makes of its marks stays as it is."""
    function: Callable[..., Any] = implementation.function

    def guarded(*arguments: Any, **named: Any) -> None:  # parameters with a default come by name
        with _named(hook, label):
            function(*_copies(arguments), **_copies(named))

    def guarded_wrapper(*arguments: Any, **named: Any) -> Generator[Any, Any, Any]:
        with _named(hook, label):
            return (yield from _once(function(*_copies(arguments), **_copies(named))))

    wraps = implementation.wrapper or implementation.hookwrapper
    # Past pluggy's `Final`: registering another object in the plugin's place would change who `plugin` is.
    object.__setattr__(implementation, "function", guarded_wrapper if wraps else guarded)


def _once(wrapper: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Drives a wrapper as pluggy does, whose own error for one that yields more than once names no plugin."""
    asked = next(wrapper, None)
    try:
        result = yield asked
    except BaseException as error:  # noqa: BLE001 - of what is inside, which the wrapper may handle
        step = partial(wrapper.throw, error)
    else:
        step = partial(wrapper.send, result)
    try:
        step()
    except StopIteration as end:
        return end.value
    raise RuntimeError("a wrapper yields once, and this one did it again")


@contextmanager
def _named(hook: str, label: str) -> Iterator[None]:
    try:
        yield
    except ObserverError:  # of an observer inside this one
        raise
    except BaseException as error:
        if not is_theirs(error):
            raise
        raise ObserverError(f"{hook} of plugin {label} failed: {told(error)}") from error


def _copies(arguments: T) -> T:
    from morl.copies import copied  # imports torch, which `morl plugins` does without

    return copied(arguments)
