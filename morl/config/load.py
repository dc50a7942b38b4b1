"""From YAML and dotted overrides to a checked `Config`, and back."""

from __future__ import annotations

import copy
from argparse import ArgumentError
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from attrs import asdict, fields_dict
from jsonargparse import Namespace

from morl.config import foreign, schema, yaml12
from morl.config.inherit import inherit_form
from morl.config.parser import as_written, hints, refuse_unknown, shared_parser
from morl.config.renamed import present_name, with_present_names
from morl.config.secrets import check_secrets, refuse_references
from morl.config.sections import NESTED, Tree, node_at, not_own, part_of, sections, spelt_out, with_tools
from morl.config.type_errors import type_error
from morl.config.typos import refuse_typos
from morl.config.values import refuse_shell, refuse_shell_in, refuse_values
from morl.errors import ConfigError, MorlError, suggest
from morl.plugins import Registry, disabled


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: no such file, YAML that cannot be read (with the line), a key that stands twice, or no mapping.
    """
    path = Path(path)
    if not path.is_file():
        siblings = [entry.name for entry in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise ConfigError(f"no config file {str(path)!r}{suggest(path.name, siblings)}")
    try:
        tree = yaml12.load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not a text in UTF-8 (byte {error.start}: {error.reason}); save it with that encoding"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping of sections; got {type(tree).__name__}")
    return tree


def read_configs(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any], list[str]]:
    """The YAML files (`.yaml` or `.yml`) that a command line begins with, as one mapping, and what follows them.

    Files are merged, later ones override earlier ones: where two of them have a mapping, its keys are joined, and any
    other value of the later file takes the place of the earlier one's.

    Returns:
        the paths, the mapping, empty if there are none, and the other arguments.

    Raises:
        ConfigError: a file that cannot be read; see `read_yaml`.
    """
    rest = list(arguments)
    paths: list[str] = []
    # What is no file by its name is reported as a mistyped override, except where the first file should stand.
    while rest and not rest[0].startswith("-") and (not paths or Path(rest[0]).suffix in (".yaml", ".yml")):
        paths.append(rest.pop(0))
    tree: dict[str, Any] = {}
    for path in paths:
        tree = _over(tree, read_yaml(path))
    return paths, tree, rest


def merge(tree: Tree, overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `tree` with `--a.b.c=value` (or `--a.b.c value`) set, values read as YAML.

    `null` is a value like any other, except for a section and an entry of `rewards`, which it takes out.

    Raises:
        ConfigError: an argument that is no override, or one that reaches into a value that has no keys.
    """
    merged: dict[str, Any] = _copy(with_present_names(tree))
    arguments = list(overrides)
    while arguments:
        argument = arguments.pop(0)
        key, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not key:
            raise ConfigError(f"unexpected argument {argument!r}; overrides have the form --section.key=value")
        if not equals:
            if not arguments or arguments[0].startswith("--"):
                known = "".join(f"; {found}" for found in foreign.hints(key))
                raise ConfigError(f"--{key} needs a value: --{key}=VALUE{known}")
            text = arguments.pop(0)
        key = present_name(key)
        *parents, last = key.split(".")
        node = merged
        for parent in parents:
            if node.get(parent) is None:
                node[parent] = {}
            inside = NESTED.get(next(iter(parents)))
            if isinstance(node[parent], str) and inside is not None and inside.path == ".".join(parents):
                node[parent] = {"name": node[parent]}  # a nested part by its mere name
            node = node[parent]
            if not isinstance(node, dict):
                raise ConfigError(f"--{key}: {parent!r} has no keys, its value is {node!r}")
        node[last] = _value(key, text)
    return without_nulls(merged)


def without_former_options(tree: Tree, overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of a resolved config without the options of parts that the overrides replace by other parts.

    The config of a run holds every option, most of which no user ever wrote; those of another part are not known to it.
    """
    new: dict[str, Any] = _copy(tree)
    schedule = NESTED["optimizer"].path  # which belongs to the run, not to the optimizer's part
    replaced = {argument.partition("=")[0].removeprefix("--") for argument in overrides}
    for section in (*sections(tree), *NESTED.values()):
        node = node_at(new, section.path)
        if section.kind is None or f"{section.path}.name" not in replaced or not isinstance(node, dict):
            continue
        own = {*fields_dict(section.own)} - {*section.nested}
        kept = {key: value for key, value in node.items() if key in own or f"{section.path}.{key}" == schedule}
        node.clear()
        node.update(kept)
    return new


def without_nulls(tree: Tree) -> dict[str, Any]:
    """A copy without the sections and the entries of `rewards` that are null."""
    kept = {key: value for key, value in _copy(tree).items() if value is not None or key in ("seed", "output")}
    if isinstance(kept.get("rewards"), dict):
        kept["rewards"] = {key: entry for key, entry in kept["rewards"].items() if entry is not None}
    return kept


def parse(tree: Tree, registry: Registry, given: frozenset[str] = frozenset()) -> schema.Config:
    """The checked config, defaults and options filled in.

    Raises:
        ConfigError: unknown keys (with near matches), wrong types, missing options, settings outside their range.
        PluginError: a name that no plugin offers.
    """
    tree = with_tools(without_nulls(with_present_names(tree)))
    if off := disabled(tree):
        tree["plugins"] = {**tree["plugins"], "disable": [*off]}
    registry.disable(off)
    refuse_typos(tree, registry, given)
    tree = spelt_out(_inherited(tree, registry, given), registry, given)
    parser = shared_parser(tree, registry, given)
    refuse_unknown(tree, parser)
    refuse_values(tree, hints(parser))
    try:
        namespace = parser.parse_object(copy.deepcopy(tree))  # which it changes
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(type_error(error, hints(parser), tree)) from error
    try:
        return _config(namespace, tree, registry, given, hints(parser))
    except MorlError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error


def to_mapping(config: schema.Config) -> dict[str, Any]:
    """The config as it would stand in a YAML file: options beside their section's own fields.

    `parse(to_mapping(config), registry)` is `config`.
    """
    tree = asdict(config, recurse=True, value_serializer=lambda _, __, value: _plain(value))
    for section in sections(tree):
        if section.kind is not None:
            node = node_at(tree, section.path)
            node.update(node.pop("options", {}))
    return tree


def to_yaml(config: schema.Config) -> str:
    """The config as YAML text."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def _inherited(tree: Tree, registry: Registry, given: frozenset[str]) -> Tree:
    """The config with what held-out prompts take from `prompts`."""

    def factory(path: str) -> Callable[..., Any] | None:
        found = next((section for section in sections(tree) if section.path == path), None)
        if found is None or path in given or not isinstance(node_at(tree, path), Mapping):
            return None
        return part_of(found, tree, registry).load()

    if not isinstance(tree.get("evaluation"), Mapping):
        return tree
    return inherit_form(tree, factory("prompts"), factory("evaluation.prompts"))


def _over(below: Tree, above: Tree) -> dict[str, Any]:
    """The mapping `below`, overridden by `above`."""
    joined: dict[str, Any] = _copy(below)
    for key, value in above.items():
        under = joined.get(str(key))
        if isinstance(under, dict) and isinstance(value, Mapping):
            joined[str(key)] = _over(under, value)
        else:
            joined[str(key)] = _copy(value)
    return joined


def _config(
    namespace: Namespace, tree: Tree, registry: Registry, given: frozenset[str], declared: Mapping[str, Any]
) -> schema.Config:
    built: dict[str, Any] = {"seed": namespace["seed"], "output": namespace["output"]}
    refuse_references(built["output"], "output")
    refuse_shell(built["output"], "output")
    rewards: dict[str, Any] = {}
    for section in sections(tree):
        written = node_at(tree, section.path)
        values = {
            key: as_written(value, written[key], declared.get(f"{section.path}.{key}")) if key in written else value
            for key, value in vars(namespace[section.path]).items()
        }
        taken_over = {*section.yields} & not_own(section, tree, registry, given)
        fields = [key for key in fields_dict(section.own) if key in values and key not in taken_over]
        own = {key: _rebuild(values.pop(key), key) for key in fields}
        for key, value in own.items():
            if section.path != "trainer" or key not in ("callbacks", "loggers"):
                refuse_references(value, f"{section.path}.{key}")
            check_secrets(value, f"{section.path}.{key}")
        if section.kind is not None:
            own["options"] = {key: _rebuild(value, key) for key, value in values.items()}
            check_secrets(own["options"], section.path)
            refuse_shell_in(own["options"], section.path)
        if section.path == "evaluation":
            continue
        if section.path == "evaluation.prompts":
            parent = {k: v for k, v in vars(namespace["evaluation"]).items() if k != "prompts"}
            built["evaluation"] = schema.EvaluationConfig(prompts=schema.HeldOutPromptsConfig(**own), **parent)
        elif section.path.startswith("rewards."):
            rewards[section.path.removeprefix("rewards.")] = schema.RewardConfig(**own)
        else:
            built[section.path] = section.own(**own)
    return schema.Config(rewards=rewards, **built)


def _rebuild(value: Any, key: str) -> Any:
    if key in schema.MAPPINGS and isinstance(value, Namespace):
        return schema.MAPPINGS[key](**vars(value))
    if key in ("schedule", "weighting") and isinstance(value, Namespace):
        part = _plain(value)
        return part["name"] if {*part} == {"name"} else part  # as briefly as a user would write it
    return _plain(value)


def _copy(tree: Any) -> Any:
    return {str(key): _copy(value) for key, value in tree.items()} if isinstance(tree, Mapping) else tree


def _value(key: str, text: str) -> Any:
    try:
        return yaml12.load(text) if text else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"--{key}={text}: the value is not valid YAML; quote it") from error


def _plain(value: Any) -> Any:
    """jsonargparse's and attrs' own types as the types that YAML knows."""
    match value:
        case Namespace():
            return {key: _plain(inner) for key, inner in vars(value).items()}
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case bool() | None | str():
            return value
        case int():
            return int(value)
        case float():
            return float(value)
    return value
