"""`morl plugins doctor`: what is wrong with the installed plugins, before a run finds out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

from attrs import frozen

from morl._version import DISTRIBUTION
from morl.authoring.contract import missing_members, misspelt, unreadable_options
from morl.authoring.examples import Example, example_of, examples_of
from morl.authoring.requirements import installed_twice, to_install, unmet
from morl.authoring.smoke import NOT_HERE, SECONDS, tried
from morl.authoring.trials import Trial, Untried, of_part
from morl.errors import MorlError, PluginError
from morl.plugins import PluginInfo, Registry

Grade: TypeAlias = Literal["ok", "note", "error"]


@frozen
class Finding:
    """One line of the answer.

    Attributes:
        grade: an `error` keeps something from working; a `note` should be known.
        text: what was looked at, and what was found.
    """

    grade: Grade
    text: str


def examine(registry: Registry, plugin: PluginInfo, seconds: float = SECONDS) -> Iterator[Finding]:
    """What is right and wrong with one plugin, a line at a time.

    Args:
        registry: of what is installed.
        plugin: one of its plugins.
        seconds: for trying each part; 0 tries none.
    """
    if plugin.disabled:
        yield Finding("note", "switched off by plugins.disable; not looked at")
        return
    for text in unmet(plugin):
        yield Finding("error", text)
    if twice := installed_twice(plugin):
        yield Finding("note", twice)
    if plugin.error is not None:
        yield Finding("error", f"could not be loaded: {plugin.error}{_missing_module(plugin, plugin.error)}")
        return
    observes = f"; observes {', '.join(plugin.observes)}" if plugin.observes else ""
    yield Finding("ok", f"imported{observes}")
    examples: Mapping[tuple[str, str], Example] = {}
    try:
        examples = examples_of(plugin)
    except PluginError as error:
        yield Finding("error", str(error))
    for kind, names in plugin.offers.items():
        for name in names:
            yield from _part(registry, plugin, (kind, name), examples, seconds)


def _part(
    registry: Registry,
    plugin: PluginInfo,
    key: tuple[str, str],
    examples: Mapping[tuple[str, str], Example],
    seconds: float,
) -> Iterator[Finding]:
    """Its import path, its options, what a part of its kind must have, and a try."""
    kind, name = key
    what = f"{kind} {name}"
    try:
        part = registry.find(kind, name)
        factory = part.load()
    except MorlError as error:
        yield Finding("error", f"{error}{_missing_module(plugin, str(error))}")
        return
    except Exception as error:  # noqa: BLE001 - whatever a stranger's import raises
        yield Finding("error", f"{what}: its import raised {type(error).__name__}: {error}")
        return
    faults = [fault for fault in (unreadable_options(registry, kind, name),) if fault is not None]
    if inspect.isclass(factory):
        faults += missing_members(kind, factory)
        yield from (Finding("note", f"{what}: {text}") for text in misspelt(kind, factory))
    if faults:
        yield from (Finding("error", f"{what}: {text}") for text in faults)
        return
    try:
        found = list(of_part(part, example_of(part, examples)))
    except ModuleNotFoundError as error:  # Hypothesis, or what else the kits need
        needed = f"pip install '{DISTRIBUTION}[testing]'"
        yield Finding("note", f"{what}: options readable; not tried: {error.name} is not installed: {needed}")
        return
    yield from _tried(what, kind, found, seconds)


def _tried(what: str, kind: str, own: list[Trial | Untried], seconds: float) -> Iterator[Finding]:
    untried = [each.reason for each in own if isinstance(each, Untried)]
    laws = [each for each in own if isinstance(each, Trial)]
    if known := [each.fault for each in laws if each.fault is not None]:
        yield from (Finding("error", f"{what}: {fault}") for fault in known)
        return
    if untried or kind in NOT_HERE or not seconds:
        reason = untried[0] if untried else NOT_HERE.get(kind, "not asked for")
        yield Finding("note" if untried else "ok", f"{what}: options readable; not tried: {reason}")
        return
    progress = tried(laws, seconds)
    for law, fault in progress.broken.items():
        yield Finding("error", f"{what}: {fault}\nexplained in {_page(laws, law)}")
    if progress.running is not None:
        left = f"; the time was over at {progress.running!r}, pytest --morl-plugin tries all"
        yield Finding("note", f"{what}: {len(progress.kept)} of {len(laws)} laws kept{left}")
    elif not progress.broken:
        yield Finding("ok", f"{what}: {len(laws)} laws kept" if len(laws) > 1 else f"{what}: keeps the contract")


def _page(laws: list[Trial], law: str) -> str:
    return next(trial.page for trial in laws if trial.law == law)


def _missing_module(plugin: PluginInfo, text: str) -> str:
    """What to install, where the text is Python's about a module that is not there."""
    _, found, rest = text.partition("No module named ")
    return to_install(plugin, rest.strip("'\"").partition("'")[0]) if found else ""
