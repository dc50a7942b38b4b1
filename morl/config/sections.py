"""The sections of a config: where each stands, which fields are its own, and which part it names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from attrs import fields_dict, frozen

from morl.config import schema
from morl.config.record import is_description
from morl.errors import ConfigError, MorlError, suggest
from morl.plugins import Registered, Registry

Tree: TypeAlias = Mapping[str, Any]
"""A config as YAML has it."""


@frozen
class Section:
    """One section of the config: where it stands, its own fields, and the kind of part it names, if any.

    Attributes:
        nested: fields that are arguments of their own elsewhere.
        yields: fields that belong to the part where it has an option of the name.
    """

    path: str
    own: type
    kind: str | None = None
    nested: tuple[str, ...] = ()
    yields: tuple[str, ...] = ()

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
    Section("importance", schema.ImportanceConfig),
    Section("entropy", schema.EntropyConfig),
    Section("reference", schema.ReferenceConfig),
    Section(
        "optimizer",
        schema.OptimizerConfig,
        "optimizer",
        nested=("schedule", "betas", "eps", "weight_decay"),
        yields=("warmup_ratio", "min_lr"),
    ),
    Section("training", schema.TrainingConfig),
    Section("trainer", schema.TrainerConfig),
    Section("plugins", schema.PluginsConfig),
)
_ENVIRONMENT = Section("environment", schema.EnvironmentConfig, "environment")
_EVALUATION = (
    Section("evaluation", schema.EvaluationConfig, nested=("prompts",)),
    Section("evaluation.prompts", schema.HeldOutPromptsConfig, "prompt source"),
)
NESTED = {
    "estimator": Section("estimator.weighting", schema.WeightingConfig, "weighting"),
    "optimizer": Section("optimizer.schedule", schema.ScheduleConfig, "schedule"),
}
"""Sections inside another section, which may be written as a mere name."""
_REWARD_NAME = re.compile(r"[A-Za-z_]\w*")


def sections(tree: Tree) -> Iterator[Section]:
    """Those of this config; one per reward, and those of `environment` and `evaluation` only where they are there."""
    yield from _SECTIONS
    if tree.get("environment") is not None:
        yield _ENVIRONMENT
    rewards = tree.get("rewards") or {}
    if not isinstance(rewards, Mapping):
        raise ConfigError(f"rewards must be a mapping from reward name to its options; got {rewards!r}")
    for key in rewards:
        if not _REWARD_NAME.fullmatch(str(key)):
            raise ConfigError(f"rewards.{key}: a reward's name consists of letters, digits and '_'")
        yield Section(
            f"rewards.{key}", schema.RewardConfig, "reward provider", yields=("bounds", "max_failed_steps", "when")
        )
    if tree.get("evaluation") is not None:
        yield from _EVALUATION


def nested_section(section: Section, factory: Callable[..., Any]) -> Section | None:
    """The section of the part that goes into this section's part, if one does."""
    if section.path == "estimator" and not takes_weighting(factory):
        return None
    return NESTED.get(section.path)


def not_own(section: Section, tree: Tree, registry: Registry, given: frozenset[str]) -> set[str]:
    """Fields of a section that stand elsewhere, or that its part takes over."""
    elsewhere = {"options", *section.nested}
    if section.yields and section.path not in given:
        elsewhere |= {*section.yields} & {*inspect.signature(part_of(section, tree, registry).load()).parameters}
    return elsewhere


def takes_weighting(estimator: Callable[..., Any]) -> bool:
    """Whether a factory has a parameter `weighting` of the type `morl.hookspecs.Weighting`."""
    parameter = inspect.signature(estimator).parameters.get("weighting")
    if parameter is None:
        return False
    from morl.types import Weights  # PyTorch, which a typo in a key need not wait for

    hint = parameter.annotation
    # As written, where it is imported for type checkers only, and resolved otherwise.
    words = re.findall(r"\w+", hint) if isinstance(hint, str) else [getattr(hint, "__name__", "")]
    return hint == Weights or bool({"Weighting", "Weights"} & {*words})


def named(part: Any) -> tuple[str, dict[str, Any]]:
    """Name and options of a part that is written as a name or as a mapping."""
    if isinstance(part, str):
        return part, {}
    options = dict(part)
    return options.pop("name"), options


def spelt_out(tree: Tree, registry: Registry, given: frozenset[str]) -> dict[str, Any]:
    """A copy in which nested sections are mappings, also where they are written as a name."""
    full = with_tools(tree)
    for section in _SECTIONS:
        node = full.get(section.path)
        inner = NESTED.get(section.path)
        if inner is None or section.path in given or not isinstance(node, Mapping):
            continue
        key = inner.path.rpartition(".")[2]
        if key in node and nested_section(section, part_of(section, tree, registry).load()) is not None:
            value = node[key]
            rest = {name: other for name, other in node.items() if name != key}
            full[section.path] = rest if value is None else {**rest, key: _mapping(inner, value)}
    return full


def with_tools(tree: Tree) -> dict[str, Any]:
    """A copy in which `tools: [..]` is the environment of that name.

    Raises:
        ConfigError: no list, or an environment that has functions already, or is another.
    """
    full = dict(tree)
    functions = full.pop("tools", None)
    if functions is None:
        return full
    if not isinstance(functions, list | tuple) or not functions:
        raise ConfigError(
            f"tools must be a list of functions, each 'package.module:function' or 'path/to/file.py:function'; got"
            f" {functions!r}"
        )
    own = full.get("environment")
    own = {} if own is None else own
    if not isinstance(own, Mapping) or own.get("name", "tools") != "tools" or "functions" in own:
        raise ConfigError(
            "tools: stands for environment: {name: tools, functions: [..]}, and the config has an environment besides;"
            " leave one of the two out"
        )
    full["environment"] = {**own, "name": "tools", "functions": [*functions]}
    return full


def _mapping(section: Section, value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{section.path} must be the name of {_a(section.kind)}, or a mapping of its name and options;"
            f" got {value!r}"
        )
    return value


def part_of(section: Section, tree: Tree, registry: Registry) -> Registered:
    """The part that a section names.

    Raises:
        ConfigError, PluginError: it names none, or one that nobody offers.
    """
    name = name_of(tree, section)
    if not isinstance(name, str):
        offered = ", ".join(part.name for part in registry.names(section.kind or ""))
        near = ""
        if section.path.startswith("rewards."):
            near = suggest(section.path, [f"rewards.{key}" for key in tree["rewards"] if key != section.path[8:]])
        raise ConfigError(f"{section.path}.name must name {_a(section.kind)}{near}\n  available: {offered}")
    if is_description(name):
        raise ConfigError(
            f"{section.path}: {name} was passed to morl.train as an object, which a file cannot hold; pass it again"
            f" ({_argument(section.path)}), or name {_a(section.kind)} in its place: --{section.path}.name=NAME"
        )
    try:
        return registry.find(section.kind or "", name)
    except MorlError as error:
        raise type(error)(f"{section.path}.name: {error}") from error


def _a(kind: str | None) -> str:
    return f"{'an' if str(kind)[0] in 'aeiou' else 'a'} {kind}"


def _argument(path: str) -> str:
    """How an object in place of a section's part is passed."""
    if path.startswith("rewards."):
        return f"morl.train(..., rewards={{{path.removeprefix('rewards.')!r}: ...}})"
    return f"morl.train(..., {path.replace('.', '_')}=...)"


def name_of(tree: Tree, section: Section) -> Any:
    """The name of a section's part, as given or by default."""
    return node_at(tree, section.path).get("name", section.default_name)


def node_at(tree: Tree, path: str) -> Any:
    """The section at a dotted path, empty where it is absent."""
    node = leaf_at(tree, path)
    return {} if node is None else node


def leaf_at(tree: Tree, path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    value: Any = tree
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
