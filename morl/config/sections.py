"""The sections of a config: where each stands, which fields are its own, and which part it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from attrs import fields_dict, frozen

from morl.config import schema
from morl.errors import ConfigError, MorlError, suggest
from morl.plugins import Registered, Registry

Tree: TypeAlias = Mapping[str, Any]
"""A config as YAML has it."""


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
    Section("importance", schema.ImportanceConfig),
    Section("optimizer", schema.OptimizerConfig),
    Section("training", schema.TrainingConfig),
    Section("trainer", schema.TrainerConfig),
)
_EVALUATION = (
    Section("evaluation", schema.EvaluationConfig, nested=("prompts",)),
    Section("evaluation.prompts", schema.HeldOutPromptsConfig, "prompt source"),
)
_REWARD_NAME = re.compile(r"[A-Za-z_]\w*")


def sections(tree: Tree) -> Iterator[Section]:
    """Those of this config; one per reward, and those of `evaluation` only where it is there."""
    yield from _SECTIONS
    rewards = tree.get("rewards") or {}
    if not isinstance(rewards, Mapping):
        raise ConfigError(f"rewards must be a mapping from reward name to its options; got {rewards!r}")
    for key in rewards:
        if not _REWARD_NAME.fullmatch(str(key)):
            raise ConfigError(f"rewards.{key}: a reward's name consists of letters, digits and '_'")
        yield Section(f"rewards.{key}", schema.RewardConfig, "reward provider")
    if tree.get("evaluation") is not None:
        yield from _EVALUATION


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
        raise ConfigError(f"{section.path}.name must name a {section.kind}{near}\n  available: {offered}")
    try:
        return registry.find(section.kind or "", name)
    except MorlError as error:
        raise type(error)(f"{section.path}.name: {error}") from error


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
