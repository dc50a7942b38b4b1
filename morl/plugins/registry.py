"""Finds plugins, checks them, and resolves names to factories.

A registry is built per run; there is no global one.  A plugin that cannot be loaded, breaks the contract or takes a
name that is taken is set aside with its error: `morl plugins` shows it, and a run fails only if it asks for a name that
nobody else offers, or that two plugins claim.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from attrs import define, field, frozen

from morl import _extras, hookspecs
from morl._version import DISTRIBUTION, __version__
from morl.errors import ConfigError, PluginError, asking, is_theirs, suggest, told
from morl.hookspecs import EXAMPLES_HOOK, PROJECT, REGISTERING_HOOKS, Factory
from morl.plugins.observers import guard
from morl.plugins.signatures import check_signatures

ENTRY_POINT_GROUP = "morl"
"""The group of entry points by which distributions announce their plugins."""
CONDITIONED = "conditioned-"
"""What stands before the name of an estimator for its conditioned form."""
_NAME = re.compile(r"[a-z0-9]+\+*([-_.][a-z0-9]+\+*)*")


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
        disabled: the config switched it off.
        examples: its hook `morl_register_examples`, not called yet, or None.
    """

    name: str
    distribution: str
    version: str = ""
    offers: dict[str, list[str]] = field(factory=dict)
    observes: list[str] = field(factory=list)
    error: str | None = None
    disabled: bool = False
    examples: Callable[[], Any] | None = None

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
            what = f"{self.kind} {self.name!r} of {self.plugin.label}"
            needed = None
            if isinstance(error, ModuleNotFoundError) and self.plugin.distribution == DISTRIBUTION:
                needed = _extras.what_to_install(error, what)
            raise PluginError(needed or f"{what} cannot be imported from {self.factory!r}: {error}") from error
        if not callable(factory):
            raise PluginError(f"{self.kind} {self.name!r} of {self.plugin.label}: {self.factory!r} is not callable")
        return factory


class Registry:
    """Every name that a config may use, with the plugin it came from.

    Args:
        plugins: modules or objects with hook implementations, besides those installed.
        discover: also load what is installed under the entry-point group `morl`.
        disable: plugins, by name or distribution, that are neither imported nor asked nor told anything.

    Raises:
        PluginError: one of `plugins` breaks the contract or takes a name that is taken.
        ConfigError: `disable` names a plugin that is not there.
    """

    def __init__(self, plugins: Iterable[object] = (), *, discover: bool = True, disable: Iterable[str] = ()) -> None:
        self._given, self._discover = tuple(plugins), discover
        self._build(tuple(disable))

    @classmethod
    def for_config(cls, tree: Mapping[str, Any], plugins: Iterable[object] = ()) -> Registry:
        """As the section `plugins` of a config says."""
        return cls(plugins, disable=disabled(tree))

    def disable(self, names: Iterable[str]) -> None:
        """Switches these plugins off, and all others on.

        Raises:
            ConfigError: a plugin that is not there.
        """
        if {*names} != {*self._disabled}:
            self._build(tuple(names))

    def _build(self, disable: tuple[str, ...]) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._names: dict[tuple[str, str], Registered] = {}
        self._claims: dict[tuple[str, str], list[PluginInfo]] = {}
        self._disabled = disable
        self.plugins: list[PluginInfo] = []

        self._add(importlib.import_module("morl.builtin"), PluginInfo("morl", DISTRIBUTION, __version__))
        for entry in _installed() if self._discover else ():
            info = PluginInfo(entry.name, *_distribution(entry))
            if self._is_off(info):
                continue
            try:
                self._add(entry.load(), info)
            except BaseException as error:  # whatever a stranger's import raises must not end the run
                if not is_theirs(error):
                    raise
                info.error = str(error) if isinstance(error, DuplicateNameError) else told(error)
                self.plugins.append(info)
        for number, plugin in enumerate(self._given):
            name = getattr(plugin, "__name__", type(plugin).__name__)
            info = PluginInfo(name, f"{name} (passed in)")
            if any(plugin is other for other in self._given[:number]):
                raise PluginError(f"{info.label} is passed in twice; leave one out")
            if plugin is None or inspect.isclass(plugin):
                raise PluginError(f"plugins must be modules or objects with hooks; got {plugin!r}")
            if not self._is_off(info):
                with asking(info.label):
                    self._add(plugin, info)
        self._check_disabled()

    def _is_off(self, info: PluginInfo) -> bool:
        if not {info.name, info.distribution} & {*self._disabled}:
            return False
        info.disabled = True
        self.plugins.append(info)
        return True

    def _check_disabled(self) -> None:
        known = [name for info in self.plugins[1:] for name in dict.fromkeys((info.name, info.distribution))]
        for name in self._disabled:
            if name not in known:
                why = (
                    "morl's own parts cannot be switched off"
                    if name in ("morl", DISTRIBUTION)
                    else f"no plugin {name!r}"
                )
                raise ConfigError(
                    f"plugins.disable: {why}{suggest(name, known)}\n  plugins: {', '.join(known) or 'none'}"
                )

    def observe(self, hook: str, **arguments: Any) -> None:
        """Calls every plugin's observer `hook` in pluggy's order: the last one registered first, unless marked.

        Each is given copies of its own.

        Raises:
            PluginError: an observer raised; the message names its plugin.
        """
        getattr(self._manager.hook, hook)(**arguments)

    def find(self, kind: str, name: str) -> Registered:
        """The one part of this kind and name.

        Raises:
            PluginError: nobody offers it, or two plugins do; the message lists what is there and what failed to load.
        """
        if kind == "advantage estimator" and name.startswith(CONDITIONED):
            from morl.advantage.conditioned import conditioned_factory

            inner = self.find(kind, name.removeprefix(CONDITIONED))
            return Registered(kind, name, conditioned_factory(inner.load()), inner.plugin)
        if (kind, name) in self._claims:
            owner, *others = self._claims[kind, name]
            second = " and by ".join(info.label for info in others)
            raise DuplicateNameError(
                f"{kind} {name!r} is registered twice: by {owner.label} and by {second}; uninstall one of them, or"
                f" switch it off: --plugins.disable=[{others[0].name}]"
            )
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
        loaded = [plugin for plugin in self.plugins if plugin.error is None and not plugin.disabled]
        return {plugin.distribution: plugin.version for plugin in loaded}

    def _add(self, plugin: object, info: PluginInfo) -> None:
        """Takes all that a plugin offers, or nothing of it."""
        check_signatures(self._manager, plugin)
        try:
            # Objects of one class, and two entry points of one name, are plugins of their own.
            self._manager.register(plugin, name=f"{info.distribution}:{info.name}:{len(self.plugins)}")
            offered = dict(_offers(self._implementations(plugin), info))
            taken = [key for key in offered if key in self._names]
            for key in taken:
                self._claims.setdefault(key, [self._names[key].plugin]).append(info)
            if taken:
                kind, name = taken[0]
                raise DuplicateNameError(
                    f"{kind} {name!r} is registered twice: by {self._names[taken[0]].plugin.label} and by {info.label};"
                    " uninstall one of them or ask its author for another name"
                )
        except BaseException:
            if self._manager.is_registered(plugin):  # pluggy keeps what it took before it refused
                self._manager.unregister(plugin)
            raise
        for (kind, name), part in offered.items():
            info.offers.setdefault(kind, []).append(name)
            self._names[kind, name] = part
        self.plugins.append(info)

    def _implementations(self, plugin: object) -> dict[str, pluggy.HookImpl]:
        """What the plugin implements, by hook."""
        found: dict[str, pluggy.HookImpl] = {}
        known = {*REGISTERING_HOOKS.values(), *hookspecs.observers(), EXAMPLES_HOOK}
        for caller in self._manager.get_hookcallers(plugin) or []:
            (own,) = (impl for impl in caller.get_hookimpls() if impl.plugin is plugin)
            if caller.name in known:
                found[caller.name] = own
            elif not own.optionalhook:  # which says that another version of morl may have it
                raise PluginError(f"implements unknown hook {caller.name!r}{suggest(caller.name, known)}")
        if not {*found} - {EXAMPLES_HOOK}:
            raise PluginError("offers nothing: no function is marked with morl.hookspecs.hookimpl")
        return found

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
    """Two plugins claim one name."""


def disabled(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """`plugins.disable` of a config.

    Raises:
        ConfigError: no list of names.
    """
    section = tree.get("plugins") or {}
    names = (section.get("disable") or ()) if isinstance(section, Mapping) else None
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"plugins must be {{disable: [NAME, ..]}}, names of plugins; got {section!r}")
    return tuple(names)


def _offers(
    implementations: Mapping[str, pluggy.HookImpl], info: PluginInfo
) -> Iterator[tuple[tuple[str, str], Registered]]:
    """Calls the registering hooks of one plugin, and prepares its observers."""
    for kind, hook in REGISTERING_HOOKS.items():
        if hook in implementations:
            own = implementations[hook]
            marks = ("wrapper", "hookwrapper", "tryfirst", "trylast")
            for mark in marks:
                if getattr(own, mark):
                    raise PluginError(
                        f"{hook}: {mark}=True is for observers; every plugin is asked by itself what it offers, so"
                        " there is no other answer to wrap, and no order"
                    )
            yield from _checked(kind, hook, own.function(), info)
    if EXAMPLES_HOOK in implementations:
        info.examples = implementations[EXAMPLES_HOOK].function
    for hook in hookspecs.observers():
        if hook in implementations:
            guard(implementations[hook], hook, info.label)
            info.observes.append(hook)


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
