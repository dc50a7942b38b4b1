"""Finds plugins, checks them, and resolves names to factories.

A registry is built per run; there is no global one.  A plugin that cannot be loaded or breaks the contract is set
aside with its error: `morl plugins` shows it, and a run fails only if it asks for a name that nobody else offers.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from attrs import define, field, frozen

from morl import hookspecs
from morl._version import DISTRIBUTION, __version__
from morl.errors import PluginError, suggest
from morl.hookspecs import PROJECT, REGISTERING_HOOKS, Factory

ENTRY_POINT_GROUP = "morl"
CONDITIONED = "conditioned-"
_NAME = re.compile(r"[a-z0-9]+([-_.][a-z0-9]+)*")


@define
class PluginInfo:
    """A plugin that was found.

    Attributes:
        name: of the entry point, or of the object that was passed in.
        distribution: the pip-installable project that announced it.
        version: of that distribution.
        offers: kind -> names it registered.
        observes: observer hooks it implements.
        error: why it was set aside, or None.
    """

    name: str
    distribution: str
    version: str = ""
    offers: dict[str, list[str]] = field(factory=dict)
    observes: list[str] = field(factory=list)
    error: str | None = None

    @property
    def label(self) -> str:
        """Distribution and version, as errors name the plugin."""
        return f"{self.distribution} {self.version}".strip()


@frozen
class Registered:
    """One name, the factory behind it, and who brought it."""

    kind: str
    name: str
    factory: Factory
    plugin: PluginInfo

    def load(self) -> Callable[..., Any]:
        """The factory itself, imported now if it was registered by path.

        Raises:
            PluginError: the path cannot be imported.
        """
        if not isinstance(self.factory, str):
            return self.factory
        module, _, attribute = self.factory.partition(":")
        try:
            factory = importlib.import_module(module)
            for part in attribute.split("."):
                factory = getattr(factory, part)
        except (ImportError, AttributeError) as error:
            raise PluginError(
                f"{self.kind} {self.name!r} of {self.plugin.label} cannot be imported from {self.factory!r}: {error}"
            ) from error
        if not callable(factory):
            raise PluginError(f"{self.kind} {self.name!r} of {self.plugin.label}: {self.factory!r} is not callable")
        return factory


class Registry:
    """Every name that a config may use, with the plugin it came from.

    Args:
        plugins: modules or objects with hook implementations, besides those installed.
        discover: also load what is installed under the entry-point group `morl`.

    Raises:
        PluginError: two plugins register the same name of the same kind, or one of `plugins` breaks the contract.
    """

    def __init__(self, plugins: Iterable[object] = (), *, discover: bool = True) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._names: dict[tuple[str, str], Registered] = {}
        self.plugins: list[PluginInfo] = []

        self._add(importlib.import_module("morl.builtin"), PluginInfo("morl", DISTRIBUTION, __version__))
        if discover:
            for entry in _installed():
                info = PluginInfo(entry.name, *_distribution(entry))
                try:
                    self._add(entry.load(), info)
                except DuplicateNameError:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever a stranger's import raises must not end the run
                    info.error = f"{type(error).__name__}: {error}"
                    if info not in self.plugins:
                        self.plugins.append(info)
        for plugin in plugins:
            name = getattr(plugin, "__name__", type(plugin).__name__)
            self._add(plugin, PluginInfo(name, f"{name} (passed in)"))

    def observe(self, hook: str, **arguments: Any) -> None:
        """Calls every plugin's observer `hook`, morl's first registered first.

        Raises:
            PluginError: an observer raised; the message names its plugin.
        """
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            accepted = {name: arguments[name] for name in implementation.argnames}
            try:
                implementation.function(*accepted.values())
            except Exception as error:
                raise PluginError(
                    f"{hook} of plugin {implementation.plugin_name} failed: {type(error).__name__}: {error}"
                ) from error

    def find(self, kind: str, name: str) -> Registered:
        """The one part of this kind and name.

        Raises:
            PluginError: nobody offers it; the message lists what is there and what failed to load.
        """
        if kind == "advantage estimator" and name.startswith(CONDITIONED):
            from morl.advantage.conditioned import conditioned_factory

            inner = self.find(kind, name.removeprefix(CONDITIONED))
            return Registered(kind, name, conditioned_factory(inner.load()), inner.plugin)
        try:
            return self._names[kind, name]
        except KeyError:
            raise PluginError(self._unknown(kind, name)) from None

    def names(self, kind: str) -> list[Registered]:
        """All parts of one kind, morl's own first, then by distribution."""
        found = [part for (of_kind, _), part in self._names.items() if of_kind == kind]
        return sorted(found, key=lambda part: (part.plugin.distribution != DISTRIBUTION, part.plugin.label, part.name))

    def versions(self) -> dict[str, str]:
        """Distribution -> version of every plugin that loaded, for checkpoints and run folders."""
        return {plugin.distribution: plugin.version for plugin in self.plugins if plugin.error is None}

    def _add(self, plugin: object, info: PluginInfo) -> None:
        offered = dict(self._inspect(plugin, info))
        for (kind, name), part in offered.items():
            if (kind, name) in self._names:
                other = self._names[kind, name].plugin
                raise DuplicateNameError(
                    f"{kind} {name!r} is registered twice: by {other.label} and by {info.label};"
                    " uninstall one of them or ask its author for another name"
                )
            info.offers.setdefault(kind, []).append(name)
            self._names[kind, name] = part
        self.plugins.append(info)

    def _inspect(self, plugin: object, info: PluginInfo) -> Iterator[tuple[tuple[str, str], Registered]]:
        """Registers the hooks of one plugin with pluggy, calls its registering ones and checks what they return."""
        self._manager.register(plugin, name=f"{info.distribution}:{info.name}")
        try:
            callers = self._manager.get_hookcallers(plugin) or []
            known = {*REGISTERING_HOOKS.values(), *hookspecs.observers()}
            for caller in callers:
                if caller.name not in known:
                    raise PluginError(f"implements unknown hook {caller.name!r}{suggest(caller.name, known)}")
            if not callers:
                raise PluginError("offers nothing: no function is marked with morl.hookspecs.hookimpl")
            info.observes = [caller.name for caller in callers if caller.name in hookspecs.observers()]
            implemented = {caller.name: caller for caller in callers}
            for kind, hook in REGISTERING_HOOKS.items():
                if hook in implemented:
                    (own,) = (impl for impl in implemented[hook].get_hookimpls() if impl.plugin is plugin)
                    yield from _checked(kind, hook, own.function(), info)
        except BaseException:
            self._manager.unregister(plugin)
            raise

    def _unknown(self, kind: str, name: str) -> str:
        parts = self.names(kind)
        near = [part.name for part in parts]
        if kind == "advantage estimator":
            near += [CONDITIONED + part.name for part in parts]
        by_plugin: dict[str, list[str]] = {}
        for part in parts:
            label = "morl" if part.plugin.distribution == DISTRIBUTION else part.plugin.label
            by_plugin.setdefault(label, []).append(part.name)
        available = "; ".join(f"{', '.join(names)} ({label})" for label, names in by_plugin.items())
        message = f"unknown {kind} {name!r}{suggest(name, near)}\n  available: {available or 'none'}"
        if kind == "advantage estimator":
            message += "; and conditioned-<name> of each"
        failed = [plugin for plugin in self.plugins if plugin.error is not None]
        if failed:
            message += "\n  failed to load: " + "; ".join(f"{plugin.label} ({plugin.error})" for plugin in failed)
        return message


class DuplicateNameError(PluginError):
    """Two plugins claim one name: the user has to choose, so this is never set aside."""


def _checked(kind: str, hook: str, returned: object, info: PluginInfo) -> Iterator[tuple[tuple[str, str], Registered]]:
    if not isinstance(returned, Mapping):
        raise PluginError(f"{hook} must return a mapping from name to factory; got {type(returned).__name__}")
    for name, factory in returned.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PluginError(f"{hook}: {name!r} is not a name (lower-case words joined by '-')")
        if kind == "advantage estimator" and name.startswith(CONDITIONED):
            raise PluginError(f"{hook}: {name!r} begins with {CONDITIONED!r}, which exists for every estimator already")
        by_path = isinstance(factory, str) and re.fullmatch(r"[\w.]+:[\w.]+", factory)
        if not by_path and not callable(factory):
            raise PluginError(
                f"{hook}: the factory of {name!r} is neither callable nor 'module:attribute': {factory!r}"
            )
        yield (kind, name), Registered(kind, name, factory, info)


def _installed() -> list[EntryPoint]:
    """Entry points of the group, in an order that does not depend on the file system."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: (_distribution(entry), entry.name))


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else (entry.value.partition(":")[0], "")
