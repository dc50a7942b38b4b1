"""Every setting of a config with its type, default and meaning, without importing a part: what `--help` prints."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import NOTHING, fields_dict, frozen

from morl.config import schema
from morl.config.declared import Declared, parameters_of, read_options
from morl.config.sections import NESTED, Section, Tree, leaf_at, name_of, part_of, sections
from morl.config.short_types import as_yaml, short_default, short_type
from morl.config.units import UNITS
from morl.plugins import Registered, Registry
from morl.plugins.registry import CONDITIONED

ENTRY = "<entry>"
"""Stands for the name of a reward where there is no config."""
_CONDITIONS = Declared(
    "conditions", "Mapping[str, Condition]", None, "reward -> `{on: .., at_least: .., otherwise: ..}`, when it counts."
)

_INNER = {inner.path: inner for inner in NESTED.values()}


@frozen
class Setting:
    """One key of a config.

    Attributes:
        path: dotted.
        type: in short.
        default: as YAML; `required`.
        unit: of a number.
        meaning: in words.
        value: what the config says; None where it leaves the default.
    """

    path: str
    type: str
    default: str
    unit: str
    meaning: str
    value: str | None = None


@frozen
class PartSettings:
    """The part that a section names, and what could stand in its place.

    Attributes:
        kind: of part.
        path: of the section.
        name: of the part; None where the section names none.
        owner: plugin that brings it.
        settings: its options; None where its text does not tell them.
        offered: names by plugin.
    """

    kind: str
    path: str
    name: str | None
    owner: str
    settings: tuple[Setting, ...] | None
    offered: Mapping[str, tuple[str, ...]]


@frozen
class SectionSettings:
    """One section of a config.

    Attributes:
        path: `training`; empty for the keys beside the sections.
        title: what it is, in a sentence.
        settings: its own keys.
        parts: the one that it names, and the one nested in that.
    """

    path: str
    title: str
    settings: tuple[Setting, ...]
    parts: tuple[PartSettings, ...] = ()


def all_sections(tree: Tree, registry: Registry, written: Tree | None = None) -> Iterator[SectionSettings]:
    """Every section, those of `evaluation` and `environment` and one reward also where the config has none.

    Args:
        tree: a config, whose parts are described.
        registry: where they are looked up.
        written: what the user wrote, whose values are shown; None takes `tree`.

    Raises:
        ConfigError, PluginError: a part that does not exist.
    """
    wrote: Tree = tree if written is None else written
    top = fields_dict(schema.Config)
    meanings = _meanings_of(schema.Config)
    yield SectionSettings(
        "", "The run", tuple(_own(name, top[name], meanings.get(name, ""), wrote) for name in ("seed", "output"))
    )
    shown = {"environment": {}, "evaluation": {"prompts": {}}, **tree}
    entries = tree.get("rewards") or {}
    found = list(sections({**shown, "rewards": entries}))
    if not entries:
        found.insert(2, Section(f"rewards.{ENTRY}", schema.RewardConfig, "reward provider", yields=("bounds", "when")))
    for section in found:
        yield _section(section, tree, registry, wrote)


def _section(section: Section, tree: Tree, registry: Registry, written: Tree) -> SectionSettings:
    parts: list[PartSettings] = []
    if section.kind is not None:
        parts.append(_part(section, tree, registry, written))
        inner = NESTED.get(section.path)
        declared = {each.path for each in parts[0].settings or ()}
        if inner is not None and (section.path != "estimator" or inner.path in declared):
            parts.append(_part(inner, tree, registry, written))
    taken = {each.path.rpartition(".")[2] for part in parts[:1] for each in part.settings or ()}
    skip = {"options", "prompts", *({*section.yields} & taken)}
    meanings, general = _meanings_of(section.own), _general(section.path)
    own = [
        _own(f"{section.path}.{name}", field, meanings.get(name, ""), written, f"{general}.{name}")
        for name, field in fields_dict(section.own).items()
        if name not in skip and (name == "schedule" or name not in section.nested)
    ]
    if section.path == "policy":
        for key, options in schema.MAPPINGS.items():
            meanings = _meanings_of(options)
            own += [
                _own(f"policy.{key}.{name}", field, meanings.get(name, ""), written)
                for name, field in fields_dict(options).items()
            ]
    title = (inspect.getdoc(section.own) or "").partition("\n")[0].rstrip(".")
    return SectionSettings(section.path, title, tuple(own), tuple(parts))


def _general(path: str) -> str:
    """The path with which a section's keys stand in the table of units."""
    if path.startswith("rewards."):
        return f"rewards.{ENTRY}"
    return "prompts" if path == "evaluation.prompts" else path


def _own(path: str, field: Any, meaning: str, tree: Tree, general: str = "") -> Setting:
    """A key that morl itself reads."""
    default = field.default
    if default is NOTHING:
        text = "required"
    elif hasattr(default, "factory"):
        text = as_yaml(default.factory())
    else:
        text = as_yaml(default)
    name = path.rpartition(".")[2]
    unit = UNITS.get(general or path, "")
    return Setting(path, short_type(str(field.type), name), text, unit, meaning, _value(tree, path))


def _part(section: Section, tree: Tree, registry: Registry, written: Tree) -> PartSettings:
    kind = section.kind or ""
    named = leaf_at(tree, section.path)
    name = named if isinstance(named, str) else name_of(tree, section) if named is None or named else None
    if name is None:
        name = section.default_name
    offered: dict[str, list[str]] = {}
    for part in registry.names(kind):
        offered.setdefault(part.plugin.label, []).append(part.name)
    names = {label: tuple(each) for label, each in offered.items()}
    if not isinstance(name, str):
        return PartSettings(kind, section.path, None, "", (), names)
    conditioned = kind == "advantage estimator" and name.startswith(CONDITIONED)
    inner = name.removeprefix(CONDITIONED) if conditioned else name
    part = part_of(section, _named(tree, section.path, inner), registry)
    options = _options(part)
    settings: tuple[Setting, ...] | None = None
    if options is not None:
        every: Sequence[Declared] = [*([_CONDITIONS] if conditioned else []), *options.values()]
        settings = tuple(_option(f"{section.path}.{each.name}", each, written) for each in every)
    return PartSettings(kind, section.path, name, part.plugin.label, settings, names)


def _option(path: str, declared: Declared, written: Tree) -> Setting:
    """An option of a part."""
    if (inner := _INNER.get(path)) is not None:
        return Setting(path, "name|mapping", str(inner.default_name), "", declared.meaning, _value(written, path))
    type_ = short_type(declared.type, declared.name) if declared.type else "any"
    return Setting(path, type_, short_default(declared.default), "", declared.meaning, _value(written, path))


def _options(part: Registered) -> Mapping[str, Declared] | None:
    """As the text says; imported where that does not tell."""
    found = read_options(part.factory)
    return parameters_of(part.load()) if found is None else found


def _named(tree: Tree, path: str, name: str) -> dict[str, Any]:
    """The config with this part in a section."""
    head, _, rest = path.partition(".")
    under = tree.get(head)
    under = under if isinstance(under, Mapping) else {}
    return {**tree, head: _named(under, rest, name) if rest else {**under, "name": name}}


def _value(tree: Tree, path: str) -> str | None:
    """What the config says for a key; None where it says nothing."""
    found = leaf_at(tree, path)
    return None if found is None else as_yaml(found)


def _meanings_of(cls: type) -> dict[str, str]:
    """What the docstring of a section says of its fields."""
    return {name: each.meaning for name, each in (parameters_of(cls) or {}).items()}
