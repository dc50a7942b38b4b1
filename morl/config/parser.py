"""The command-line parser of one config, with the options of exactly the parts that it names.

Which options a section takes depends on the part that it names, so the parser is built after the names are known, from
the merged config: jsonargparse gets one group of arguments per section, with the fields of the section and the
parameters of the part's factory side by side.
"""

from __future__ import annotations

import inspect
import re
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import lru_cache
from operator import is_
from types import UnionType
from typing import Any, Union, get_args, get_origin

from attrs import cmp_using, field, fields_dict, frozen, has, resolve_types
from jsonargparse import ArgumentParser
from jsonargparse.typing import NonNegativeInt

from morl.config import schema
from morl.config.keywords import unknown_key
from morl.config.sections import (
    NESTED,
    Section,
    Tree,
    name_of,
    nested_section,
    node_at,
    not_own,
    part_of,
    sections,
)
from morl.config.type_errors import type_error
from morl.errors import ConfigError, suggest
from morl.plugins import Registered, Registry

_OUTPUT = fields_dict(schema.Config)["output"].default


def build_parser(tree: Tree, registry: Registry, given: frozenset[str] = frozenset()) -> ArgumentParser:
    """A parser for the sections of `tree`, each with the options of the part that it names.

    Args:
        tree: as read from YAML.
        registry: where names are looked up.
        given: paths of sections whose part is passed as an object, so that they name none.

    Raises:
        ConfigError, PluginError: a part that does not exist, a reward without a name, options that clash with morl's.
    """
    return _parser(tuple(_groups(tree, registry, given)))


def shared_parser(tree: Tree, registry: Registry, given: frozenset[str] = frozenset()) -> ArgumentParser:
    """As `build_parser`, but the parser is one that was built before for sections with the very same parts.

    To parse with, and not to change: building one takes longer than parsing does, and the runs of a comparison, or the
    command that checks a config and then reads it, have the same parts.
    """
    return _kept(tuple(_groups(tree, registry, given)))


@frozen
class _Group:
    """What a section adds to the parser: its own fields but for `skip`, and the options of its part."""

    path: str
    own: type
    skip: frozenset[str]
    what: str = ""
    # Another factory of the same name is another part, and may be equal or have no hash.
    factory: Callable[..., Any] | None = field(default=None, eq=cmp_using(eq=is_), hash=False)
    without: frozenset[str] = frozenset()
    """Options of the factory that have a section of their own."""


def _groups(tree: Tree, registry: Registry, given: frozenset[str]) -> Iterator[_Group]:
    for section in sections(tree):
        if not isinstance(node_at(tree, section.path), Mapping):
            what = "a `name` and its options" if section.kind else "its settings"
            raise ConfigError(f"{section.path} must be a mapping with {what}; got {node_at(tree, section.path)!r}")
        skip = frozenset(not_own(section, tree, registry, given))
        if section.kind is None or section.path in given:
            yield _Group(section.path, section.own, skip)
            continue
        part = part_of(section, tree, registry)
        inner = nested_section(section, part.load())
        yield _group(section, part, skip, frozenset() if inner is None else {inner.path.rpartition(".")[2]})
        if inner is not None:
            yield _group(inner, part_of(inner, tree, registry), {"options"})


def _group(
    section: Section, part: Registered, skip: AbstractSet[str], without: AbstractSet[str] = frozenset()
) -> _Group:
    factory = part.load()
    taken = frozenset(set(fields_dict(section.own)) - {*section.yields})
    if clash := taken & set(inspect.signature(factory).parameters):
        raise ConfigError(
            f"{section.kind} {part.name!r} of {part.plugin.label} has options that morl itself uses in"
            f" {section.path}: {', '.join(sorted(clash))}; its author has to rename them"
        )
    what = f"{section.kind} {part.name} ({part.plugin.label})"
    return _Group(section.path, section.own, frozenset(skip), what, factory, frozenset(without))


def _parser(groups: tuple[_Group, ...]) -> ArgumentParser:
    # Defaults are filled in from the schema, never from files or the environment of the machine.
    parser = ArgumentParser(
        prog="morl train",
        usage="morl train CONFIG [--section.key=value ...] [--print_config] [--help]",
        description="Train a policy on several rewards.  Options below are those of the parts that CONFIG names.",
        exit_on_error=False,
        default_env=False,
    )
    parser.add_argument("--seed", type=NonNegativeInt, default=0, help="random seed; same seed, same run")
    parser.add_argument("--output", type=str, default=_OUTPUT, help="run folder; must be new or empty")
    for group in groups:
        parser.add_class_arguments(group.own, group.path, skip={*group.skip})
        if group.factory is not None:
            _resolve_types(group.factory)
            options = parser.add_argument_group(f"Options of {group.what}")
            add = options.add_class_arguments if inspect.isclass(group.factory) else options.add_function_arguments
            add(group.factory, group.path, as_group=False, skip={*group.without})
    return parser


_kept = lru_cache(maxsize=8)(_parser)


def _resolve_types(factory: Callable[..., Any]) -> None:
    """Types of inherited fields are texts in terms of the module of their base, where jsonargparse does not look."""
    if inspect.isclass(factory) and has(factory):
        with suppress(NameError):
            resolve_types(factory)


def refuse_unknown(tree: Tree, parser: ArgumentParser) -> None:
    """Every key must be an argument, or lie inside the value of one.

    Raises:
        ConfigError: the first that is not, with near matches and what its section takes.
    """
    known = {action.dest for action in parser._actions if not action.dest.endswith(".help")}
    prefixes = {".".join(dest.split(".")[:depth]) for dest in known for depth in range(1, dest.count(".") + 1)}
    paths = {section.path: section for section in (*sections(tree), *NESTED.values())}

    def walk(node: Tree, at: str) -> None:
        for key, value in node.items():
            path = f"{at}.{key}" if at else str(key)
            if path in prefixes and (isinstance(value, Mapping) or value is None):
                walk(value or {}, path)
            elif path not in known and path not in ("rewards", "evaluation"):
                inside = f"{at}." if at else ""
                siblings = {d.removeprefix(inside).split(".")[0] for d in known if d.startswith(inside)}
                where = f"{at} with name={name_of(tree, paths[at])}" if at in paths and paths[at].kind else at
                raise unknown_key(path, where, {name for name in siblings if name != "help"}, None, schema.KEYS)

    walk(tree, "")


def hints(parser: ArgumentParser) -> dict[str, Any]:
    """Path of an option -> its declared type."""
    return {action.dest: getattr(action, "_typehint", action.type) for action in parser._actions}


def as_written(parsed: Any, written: Any, hint: Any) -> Any:
    """The value of an option as the user wrote it, where its type lets that stand; else as it was parsed.

    jsonargparse reads a text once more as YAML wherever the declared type would take something else: `"5"` would
    become a number, `"null"` nothing and `"Grade: (x)"` a mapping, though YAML has said already that they are texts.
    """
    anything = _admits(hint, Any) or (isinstance(written, str) and _admits(hint, str))
    return written if anything else parsed


def _admits(hint: Any, kind: Any) -> bool:
    """Whether `kind` is this type, one of a union, or, for `Any`, part of it at any depth."""
    inner = get_args(hint) if kind is Any or get_origin(hint) in (Union, UnionType) else ()
    return hint is kind or any(_admits(each, kind) for each in inner)


def checked_options(factory: Callable[..., Any], options: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Options of a part that has no section of its own, as the parser of a section would take them.

    Raises:
        ConfigError: an unknown key, a wrong type, a missing option.
    """
    known = inspect.signature(factory).parameters
    for key in options:
        if key not in known:
            raise ConfigError(f"unknown key '{path}.{key}'{suggest(str(key), known)}\n  it takes: {', '.join(known)}")
    parser = ArgumentParser(exit_on_error=False, default_env=False)
    if inspect.isclass(factory):
        parser.add_class_arguments(factory, "part", as_group=False)
    else:
        parser.add_function_arguments(factory, "part", as_group=False)
    try:
        found = parser.parse_object({"part": dict(options)})["part"]
    except (ArgumentError, TypeError, ValueError) as error:
        text = type_error(error, hints(parser), {"part": options})
        raise ConfigError(re.sub(r"\bpart\b", path, text, count=1)) from error
    return {key: found[key] for key in options}
