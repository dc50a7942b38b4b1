"""Whether what a plugin implements can be called as its hook is, of which pluggy checks a part."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pluggy

from morl.errors import PluginError, suggest


def check_signatures(manager: pluggy.PluginManager, plugin: object) -> None:
    """Refuses implementations that would fail at their first call, or whose body would never run.

    Args:
        manager: knows the hooks.
        plugin: not registered yet.  Hooks that do not exist are somebody else's to answer.

    Raises:
        PluginError: a parameter that the hook does not have, a coroutine, a generator that is no wrapper, a wrapper
            that is no generator, or a function of a hook's name without the mark.
    """
    for name, marks, function in _implementations(manager, plugin):
        caller = getattr(manager.hook, marks.get("specname") or name, None)
        if caller is None or caller.spec is None:
            continue
        hook, given = caller.name, caller.spec.argnames
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise PluginError(f"{hook} is async, and hooks are called, never awaited; make it a plain function")
        wraps = marks.get("wrapper") or marks.get("hookwrapper")
        yields = inspect.isgeneratorfunction(function)
        if yields and not wraps:
            raise PluginError(
                f"{hook} yields, so nothing of it would run; return, or mark it with hookimpl(wrapper=True) if it is to"
                " run around the others"
            )
        if wraps and not yields:
            raise PluginError(f"{hook} is marked as a wrapper and does not yield; a wrapper yields once, to the others")
        for parameter in inspect.signature(function).parameters.values():
            needed = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            )
            if needed and parameter.name not in given:
                raise PluginError(
                    f"{hook} takes {parameter.name!r}{suggest(parameter.name, given)}; the hook gives"
                    f" {', '.join(given) or 'nothing'}, of which a plugin may leave out what it does not need"
                )


def _implementations(
    manager: pluggy.PluginManager, plugin: object
) -> Iterator[tuple[str, dict[str, Any], Callable[..., Any]]]:
    """Name, marks and function of all that a plugin marks with `hookimpl`."""
    for name in dir(plugin):
        marks = manager.parse_hookimpl_opts(plugin, name)
        if marks is not None:
            yield name, dict(marks), getattr(plugin, name)
        elif name.startswith("morl_") and hasattr(manager.hook, name) and callable(getattr(plugin, name)):
            raise PluginError(f"{name} is not marked with morl.hookspecs.hookimpl, so it would never be called")
