"""Keys that nothing knows, found before the parts are imported that a config names."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import fields_dict

from morl.config import schema
from morl.config.declared import declared_options
from morl.config.keywords import unknown_key
from morl.config.record import is_description
from morl.config.sections import Section, Tree, name_of, node_at, part_of, sections
from morl.plugins import Registry
from morl.plugins.registry import CONDITIONED

_FEW = 3  # parts that a message names


def refuse_typos(tree: Tree, registry: Registry, given: frozenset[str] = frozenset()) -> None:
    """Refuses a key that neither morl nor the named part takes, as far as the text of the part tells.

    Raises:
        ConfigError: the first such key; see `unknown_key`.
        PluginError: a name that no plugin offers.
    """
    known = {*fields_dict(schema.Config)}
    if strangers := {str(key): value for key, value in tree.items() if key not in known}:
        raise unknown_key(next(iter(strangers)), "", known, strangers, schema.KEYS)
    for section in sections(tree):
        node = node_at(tree, section.path)
        if not isinstance(node, Mapping) or section.path in given:
            continue
        taken = _known(section, tree, registry)
        if taken is None:
            continue
        if strangers := {f"{section.path}.{key}": value for key, value in node.items() if key not in taken}:
            where = f"{section.path} with name={name_of(tree, section)}" if section.kind else section.path
            first = next(iter(strangers))
            raise unknown_key(first, where, taken, strangers, schema.KEYS, _others(first, section, tree, registry))


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


def _others(path: str, section: Section, tree: Tree, registry: Registry) -> str:
    """The other parts of the section's kind that take a key, as far as their texts tell."""
    if section.kind is None:
        return ""
    parts = [part for part in registry.names(section.kind) if part.name != name_of(tree, section)]
    key = path.rpartition(".")[2]
    found = [repr(part.name) for part in parts if key in (declared_options(part.factory) or ())]
    more = [f"{len(found) - _FEW} more"] if len(found) > _FEW else []
    return f"the {section.kind} {' or '.join([*found[:_FEW], *more])}" if found else ""
