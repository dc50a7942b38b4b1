"""Keys that nothing knows, found before the parts are imported that a config names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from attrs import fields_dict

from morl.config import foreign, schema
from morl.config.declared import declared_options
from morl.config.record import is_description
from morl.config.sections import Section, Tree, name_of, node_at, part_of, sections
from morl.errors import ConfigError, suggest
from morl.plugins import Registry
from morl.plugins.registry import CONDITIONED


def refuse_typos(tree: Tree, registry: Registry, given: frozenset[str] = frozenset()) -> None:
    """Refuses a key that neither morl nor the named part takes, as far as the text of the part tells.

    Raises:
        ConfigError: the first such key; see `unknown_key`.
        PluginError: a name that no plugin offers.
    """
    known = {*fields_dict(schema.Config)}
    if strangers := {str(key): value for key, value in tree.items() if key not in known}:
        raise unknown_key(next(iter(strangers)), "", known, strangers)
    for section in sections(tree):
        node = node_at(tree, section.path)
        if not isinstance(node, Mapping) or section.path in given:
            continue
        taken = _known(section, tree, registry)
        if taken is None:
            continue
        for key in node:
            if key not in taken:
                where = f"{section.path} with name={name_of(tree, section)}" if section.kind else section.path
                raise unknown_key(f"{section.path}.{key}", where, taken)


def unknown_key(path: str, where: str, known: set[str], strangers: Tree | None = None) -> ConfigError:
    """The error of a key that its section does not take, with a near one, or else with all that it takes.

    A key of another trainer is answered with what stands for it here, and so are the others beside it.

    Args:
        path: the key.
        where: its section; empty for the config itself.
        known: what that takes.
        strangers: all keys beside this one that are unknown there, with their values.
    """
    takes = f"{where} takes" if where else "the config has the sections"
    near = suggest(path.rpartition(".")[2], sorted(known))
    hints: list[str] = []
    # Within a section a near name tells more; options of rewards bear all sorts of names.
    if not where or not (near or path.startswith("rewards.")):
        hints = [found for key, value in (strangers or {path: None}).items() for found in foreign.hints(key, value)]
    if not where and not hints:
        near = near or _elsewhere(path)
    if hints or near:
        return ConfigError("\n  ".join([f"unknown key {path!r}{'' if hints else near}", *hints]))
    return ConfigError(f"unknown key {path!r}\n  {takes}: {', '.join(sorted(known))}")


def _elsewhere(name: str) -> str:
    """Keys of this name in the sections, or of one that is very near."""
    everywhere = {key for keys in schema.KEYS.values() for key in keys}
    near = difflib.get_close_matches(name, sorted(everywhere), n=1, cutoff=0.8)
    found = [f"{section}.{key}" for section, keys in schema.KEYS.items() for key in keys if key in near]
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def _known(section: Section, tree: Tree, registry: Registry) -> set[str] | None:
    """What a section takes; None where its part has to be imported to tell."""
    own = {*fields_dict(section.own)} - {"options"}
    if section.kind is None:
        return own
    name = name_of(tree, section)
    if section.kind == "advantage estimator" and isinstance(name, str) and name.startswith(CONDITIONED):
        own.add("conditions")
        tree = {**tree, section.path: {"name": name.removeprefix(CONDITIONED)}}
    elif is_description(name):
        return None  # which is refused elsewhere
    options = declared_options(part_of(section, tree, registry).factory)
    if options is None:
        return None
    return own | options
