"""Sandboxes by name: those of this plugin, and those that other distributions announce.

A distribution announces one in its entry points of the group `morl_code.sandboxes`, as a path to a factory that takes
limits and starts a sandbox (`morl_code.sandbox.interface`):

    [project.entry-points."morl_code.sandboxes"]
    my-service = "my_package.sandbox:RemoteSandbox"
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import EntryPoint, entry_points

from morl.errors import PluginError
from morl_code.sandbox.client import LocalSandbox
from morl_code.sandbox.interface import SandboxFactory

ENTRY_POINT_GROUP = "morl_code.sandboxes"
OWN = ("namespaces", "landlock", "bubblewrap", "none")


def names() -> tuple[str, ...]:
    """Of all sandboxes, whether this machine offers them or not."""
    return (*OWN, *sorted({entry.name for entry in _announced()} - {*OWN, "auto"}))


def factory(name: str) -> SandboxFactory:
    """What starts the sandbox of this name.

    Raises:
        PluginError: it is announced twice, or its path cannot be imported.
    """
    entries = [entry for entry in _announced() if entry.name == name]
    if name in OWN and not entries:
        return partial(LocalSandbox, name)
    if name in OWN or len(entries) != 1:
        found = sorted([*(entry.value for entry in entries), *(["morl-code itself"] if name in OWN else [])])
        raise PluginError(
            f"sandbox {name!r} must be announced once in the group {ENTRY_POINT_GROUP!r}; found {', '.join(found)}"
        )
    try:
        loaded: SandboxFactory = entries[0].load()
    except (ImportError, AttributeError) as error:
        raise PluginError(f"sandbox {name!r} cannot be imported from {entries[0].value!r}: {error}") from error
    return loaded


def _announced() -> list[EntryPoint]:
    return list(entry_points(group=ENTRY_POINT_GROUP))
