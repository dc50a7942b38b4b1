"""From YAML and dotted overrides to a checked `Config`.

Which options a section takes depends on the part that it names, so the parser is built after the names are known: the
YAML file and the overrides are merged first, then jsonargparse gets one group of arguments per section, with the fields
of the section and the parameters of the part's factory side by side.  `--help`, `--print_config`, type errors and
unknown keys therefore speak of the options of exactly the parts that were chosen.
"""

from __future__ import annotations

import inspect
import re
from argparse import SUPPRESS, ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from attrs import asdict, fields_dict, frozen
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt

from morl.config import schema, yaml12
from morl.errors import ConfigError, MorlError, suggest
from morl.plugins import Registered, Registry

Tree = dict[str, Any]


@frozen
class Section:
    """One section of the config: where it stands, its own fields, and the kind of part it names, if any."""

    path: str
    own: type
    kind: str | None = None
    nested: tuple[str, ...] = ()

    @property
    def default_name(self) -> Any:
        name = fields_dict(self.own).get("name")
        return None if name is None or name.default is None else name.default


_SECTIONS = (
    Section("policy", schema.PolicyConfig, "policy source"),
    Section("prompts", schema.PromptsConfig, "prompt source"),
    Section("estimator", schema.EstimatorConfig, "advantage estimator"),
    Section("rollout", schema.RolloutConfig, "rollout backend"),
    Section("sampling", schema.Sampling),
    Section("loss", schema.LossConfig, "policy loss"),
    Section("optimizer", schema.OptimizerConfig),
    Section("training", schema.TrainingConfig),
    Section("trainer", schema.TrainerConfig),
)
_EVALUATION = (
    Section("evaluation", schema.EvaluationConfig, nested=("prompts",)),
    Section("evaluation.prompts", schema.HeldOutPromptsConfig, "prompt source"),
)


_OUTPUT = fields_dict(schema.Config)["output"].default
_REWARD_NAME = re.compile(r"[A-Za-z_]\w*")


def read_yaml(path: str | Path) -> Tree:
    """The mapping in a YAML file.

    Raises:
        ConfigError: no such file, YAML that cannot be read (with the line), or no mapping.
    """
    path = Path(path)
    if not path.is_file():
        siblings = [entry.name for entry in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise ConfigError(f"no config file {str(path)!r}{suggest(path.name, siblings)}")
    try:
        tree = yaml12.load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping of sections; got {type(tree).__name__}")
    return tree


def merge(tree: Mapping[str, Any], overrides: Sequence[str]) -> Tree:
    """A copy of `tree` with `--a.b.c=value` (or `--a.b.c value`) set, values read as YAML.

    `null` is a value like any other, except for an entry of `rewards`, which it removes.

    Raises:
        ConfigError: an argument that is no override, or one that reaches into a value that has no keys.
    """
    merged: Tree = _copy(tree)
    arguments = list(overrides)
    while arguments:
        argument = arguments.pop(0)
        key, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not key:
            raise ConfigError(f"unexpected argument {argument!r}; overrides have the form --section.key=value")
        if not equals:
            if not arguments or arguments[0].startswith("--"):
                raise ConfigError(f"--{key} needs a value: --{key}=VALUE")
            text = arguments.pop(0)
        *parents, last = key.split(".")
        node = merged
        for parent in parents:
            if node.get(parent) is None:
                node[parent] = {}
            node = node[parent]
            if not isinstance(node, dict):
                raise ConfigError(f"--{key}: {parent!r} has no keys, its value is {node!r}")
        node[last] = _value(key, text)
    return merged


def build_parser(tree: Mapping[str, Any], registry: Registry, given: frozenset[str] = frozenset()) -> ArgumentParser:
    """A parser for the sections of `tree`, each with the options of the part that it names.

    Args:
        tree: as read from YAML.
        registry: where names are looked up.
        given: paths of sections whose part is passed as an object, so that they name none.

    Raises:
        ConfigError, PluginError: a part that does not exist, a reward without a name, options that clash with morl's.
    """
    # Defaults are filled in from the schema, never from files or the environment of the machine.
    parser = ArgumentParser(
        prog="morl train",
        usage="morl train CONFIG [--section.key=value ...] [--print_config] [--help]",
        description="Train a policy on several rewards.  Options below are those of the parts that CONFIG names.",
        exit_on_error=False,
        default_env=False,
    )
    parser.add_argument("--seed", type=NonNegativeInt, default=0, help="of everything random; same seed, same run")
    parser.add_argument("--output", type=str, default=_OUTPUT, help="run folder; must be new or empty")
    for section in _sections(tree):
        if not isinstance(_node(tree, section.path), Mapping):
            what = "a `name` and its options" if section.kind else "its settings"
            raise ConfigError(f"{section.path} must be a mapping with {what}; got {_node(tree, section.path)!r}")
        parser.add_class_arguments(section.own, section.path, skip={"options", *section.nested})
        if section.kind is not None and section.path not in given:
            _add_options(parser, section, _part(section, tree, registry))
    return parser


def _add_options(parser: ArgumentParser, section: Section, part: Registered) -> None:
    factory = part.load()
    clash = set(fields_dict(section.own)) & set(inspect.signature(factory).parameters)
    if clash:
        raise ConfigError(
            f"{section.kind} {part.name!r} of {part.plugin.label} has options that morl itself uses in"
            f" {section.path}: {', '.join(sorted(clash))}; its author has to rename them"
        )
    group = parser.add_argument_group(f"Options of {section.kind} {part.name} ({part.plugin.label})")
    if inspect.isclass(factory):
        group.add_class_arguments(factory, section.path, as_group=False)
    else:
        group.add_function_arguments(factory, section.path, as_group=False)


def help_text(tree: Mapping[str, Any], registry: Registry, given: frozenset[str] = frozenset()) -> str:
    """Every setting, with the values of `tree` as defaults."""
    parser = build_parser(tree, registry, given)
    sections = {section.path for section in _sections(tree)}
    for action in parser._actions:
        # What jsonargparse offers beyond morl's own way of merging: sections from files, appending to lists.
        if action.dest in sections or action.dest.endswith(".help"):
            action.help = SUPPRESS
        action.option_strings = [option for option in action.option_strings if not option.endswith("+")]
    values = {action.dest: _leaf(tree, action.dest) for action in parser._actions}
    parser.set_defaults({dest: value for dest, value in values.items() if value is not None and dest not in sections})
    return str(parser.format_help())


def parse(tree: Mapping[str, Any], registry: Registry, given: frozenset[str] = frozenset()) -> schema.Config:
    """The checked config, defaults and options filled in.

    Raises:
        ConfigError: unknown keys (with near matches), wrong types, missing options, settings outside their range.
        PluginError: a name that no plugin offers.
    """
    parser = build_parser(tree, registry, given)
    known = {action.dest for action in parser._actions if not action.dest.endswith(".help")}
    _refuse_unknown(tree, known, _sections(tree))
    clean = {key: value for key, value in _copy(tree).items() if value is not None}
    if isinstance(clean.get("rewards"), dict):
        clean["rewards"] = {key: entry for key, entry in clean["rewards"].items() if entry is not None}
    try:
        namespace = parser.parse_object(clean)
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(_readable(error)) from error
    try:
        return _config(namespace, tree)
    except MorlError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error


def to_mapping(config: schema.Config) -> Tree:
    """The config as it would stand in a YAML file: options beside their section's own fields.

    `parse(to_mapping(config), registry)` is `config`.
    """
    tree = asdict(config, recurse=True, value_serializer=lambda _, __, value: _plain(value))
    for section in _sections(tree):
        if section.kind is not None:
            node = _node(tree, section.path)
            node.update(node.pop("options", {}))
    return tree


def to_yaml(config: schema.Config) -> str:
    """The config as YAML text."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False)


def _sections(tree: Mapping[str, Any]) -> Iterator[Section]:
    yield from _SECTIONS
    rewards = tree.get("rewards") or {}
    if not isinstance(rewards, Mapping):
        raise ConfigError(f"rewards must be a mapping from reward name to its options; got {rewards!r}")
    for key, entry in rewards.items():
        if not _REWARD_NAME.fullmatch(str(key)):
            raise ConfigError(f"rewards.{key}: a reward's name consists of letters, digits and '_'")
        if entry is not None:
            yield Section(f"rewards.{key}", schema.RewardConfig, "reward provider")
    if tree.get("evaluation") is not None:
        yield from _EVALUATION


def _part(section: Section, tree: Mapping[str, Any], registry: Registry) -> Registered:
    node = _node(tree, section.path)
    name = node.get("name", section.default_name)
    if not isinstance(name, str):
        offered = ", ".join(part.name for part in registry.names(section.kind or ""))
        near = ""
        if section.path.startswith("rewards."):
            near = suggest(section.path, [f"rewards.{key}" for key in tree["rewards"] if key != section.path[8:]])
        raise ConfigError(f"{section.path}.name must name a {section.kind}{near}\n  available: {offered}")
    try:
        return registry.find(section.kind or "", name)
    except MorlError as error:
        raise type(error)(f"{section.path}.name: {error}") from error


def _node(tree: Mapping[str, Any], path: str) -> Any:
    """The section at a dotted path, empty where it is absent."""
    node = _leaf(tree, path)
    return {} if node is None else node


def _leaf(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    value: Any = tree
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _refuse_unknown(tree: Mapping[str, Any], known: set[str], sections: Iterator[Section]) -> None:
    """Every key must be an argument, or lie inside the value of one."""
    prefixes = {".".join(dest.split(".")[:depth]) for dest in known for depth in range(1, dest.count(".") + 1)}
    paths = {section.path: section for section in sections}

    def walk(node: Mapping[str, Any], at: str) -> None:
        for key, value in node.items():
            path = f"{at}.{key}" if at else str(key)
            if at == "rewards" and value is None:
                continue  # an entry that was taken out
            if path in prefixes and (isinstance(value, Mapping) or value is None):
                walk(value or {}, path)
            elif path not in known and path not in ("rewards", "evaluation"):
                inside = f"{at}." if at else ""
                siblings = sorted({d.removeprefix(inside).split(".")[0] for d in known if d.startswith(inside)})
                siblings = [name for name in siblings if name != "help"]
                where = f"{at} takes" if at else "the config has the sections"
                if at in paths and paths[at].kind:
                    where = f"{at} with name={_name(tree, paths[at])} takes"
                raise ConfigError(
                    f"unknown key {path!r}{suggest(str(key), siblings)}\n  {where}: {', '.join(siblings)}"
                )

    walk(tree, "")


def _name(tree: Mapping[str, Any], section: Section) -> Any:
    return _node(tree, section.path).get("name", section.default_name)


def _config(namespace: Namespace, tree: Mapping[str, Any]) -> schema.Config:
    built: Tree = {"seed": namespace["seed"], "output": namespace["output"]}
    rewards: Tree = {}
    for section in _sections(tree):
        values = dict(vars(namespace[section.path]))
        own = {key: _rebuild(values.pop(key), key) for key in fields_dict(section.own) if key in values}
        if section.kind is not None:
            own["options"] = {key: _plain(value) for key, value in values.items()}
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
    if key == "lora" and isinstance(value, Namespace):
        return schema.LoRA(**vars(value))
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


def _readable(error: Exception) -> str:
    """jsonargparse's message without its own vocabulary."""
    text = re.sub(r'Parser key "([^"]+)":\s*', r"\1: ", str(error))
    text = re.sub(r"the following arguments are required: (.*)", r"missing: \1", text)
    return re.sub(r"\s*\n\s*", "\n  ", text)
