"""From names in the config to the objects that do the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from attrs import define, field, fields_dict, frozen

from morl.advantage import Conditioned
from morl.config.parser import checked_options
from morl.config.schema import Config, EnvironmentConfig
from morl.config.secrets import with_secrets, without_secrets
from morl.config.sections import named, takes_weighting
from morl.errors import ConfigError, MorlError, PluginError, is_theirs, told
from morl.hookspecs import (
    AdvantageEstimator,
    Environment,
    OptimizerBuilder,
    PolicyLoss,
    PolicySource,
    PromptSource,
    RewardProvider,
    RolloutBackend,
    Schedule,
    Stateful,
)
from morl.plugins import Registry
from morl.prompts.mixture import Weighted
from morl.reward import FunctionReward, RewardEntry, RewardScorer, When
from morl.reward.environment import EnvironmentRewards
from morl.runtime.conversations import Conversations
from morl.runtime.templates import chat_template
from morl.types import Prompt

ENVIRONMENT = "environment"
"""Name of the entry of the rewards that an environment gives."""

PassedPrompts: TypeAlias = Sequence[Prompt] | Sequence[Mapping[str, Any]] | Sequence[str] | Any
"""Prompts, or rows that become some: a list of mappings or texts, or a `datasets.Dataset`."""

PassedRewards: TypeAlias = (
    Mapping[str, RewardProvider | RewardEntry | Callable[..., Any]] | Sequence[Callable[..., Any]] | Callable[..., Any]
)
"""Rewards by name, or functions that have a name of their own."""


@frozen(eq=False)
class Given:
    """Objects that a caller passes to `morl.train` in place of the config's sections of the same names.

    Attributes:
        prompts: training prompts.
        evaluation_prompts: held-out ones.
        rewards: providers, entries or plain functions (TRL or verl style) by reward name.
        estimator, rollout, loss: parts.
        policy: a Hugging Face causal LM.
        tokenizer: of the policy.
    """

    prompts: Sequence[Prompt] | None = None
    evaluation_prompts: Sequence[Prompt] | None = None
    rewards: Mapping[str, RewardProvider | RewardEntry | Callable[..., Any]] | None = None
    estimator: AdvantageEstimator | None = None
    rollout: RolloutBackend | None = None
    loss: PolicyLoss | None = None
    policy: Any = None
    tokenizer: Any = None

    @property
    def sections(self) -> frozenset[str]:
        """Paths of the config sections that need not name a part."""
        names = ("prompts", "estimator", "rollout", "loss", "policy")
        given = {name for name in names if getattr(self, name) is not None}
        rewards = {f"rewards.{name}" for name in self.rewards or {}}
        return frozenset(given | rewards | ({"evaluation.prompts"} if self.evaluation_prompts is not None else set()))


@define(eq=False)
class Parts:
    """The parts of one run, built from options but not started: nothing here has loaded a model or a data set.

    Attributes:
        labels: what errors call a part that has a name, by its path in the config.
    """

    registry: Registry
    scorer: RewardScorer
    estimator: AdvantageEstimator
    backend: RolloutBackend
    loss: PolicyLoss
    policy: PolicySource | None
    prompts: PromptSource | None
    evaluation_prompts: PromptSource | None
    optimizer: OptimizerBuilder
    schedule: Schedule
    environment: Environment | None = None
    given: Given = field(factory=Given)
    labels: Mapping[str, str] = field(factory=dict)

    @property
    def needs_reference(self) -> bool:
        """Whether a part looks at the reference policy."""
        return bool(self.loss.needs_reference) or self.rewards_need_reference

    @property
    def rewards_need_reference(self) -> bool:
        """Whether a reward looks at its log-probabilities."""
        return any(getattr(entry.provider, "needs_reference", False) for entry in self.scorer.entries.values())

    def label(self, path: str) -> str:
        """What errors call the part at a path of the config."""
        if path in self.labels:
            return self.labels[path]
        return f"{path} ({type(self.everything().get(path)).__name__}, passed in)"

    def everything(self) -> dict[str, object]:
        """The parts that may have a state, by path."""
        found: dict[str, object] = {
            "prompts": self.prompts if self.prompts is not None else self.given.prompts,
            "evaluation.prompts": self.evaluation_prompts or self.given.evaluation_prompts,
            **{f"rewards.{name}": entry.provider for name, entry in self.scorer.entries.items()},
            "estimator": innermost(self.estimator),
            "estimator.weighting": weighting_of(self.estimator),
            "loss": self.loss,
            "environment": self.environment,
        }
        return {path: part for path, part in found.items() if part is not None}

    def stateful(self) -> dict[str, Stateful]:
        """Those that have one."""
        return {path: part for path, part in self.everything().items() if isinstance(part, Stateful)}


def innermost(estimator: AdvantageEstimator) -> Any:
    """The estimator inside `conditioned-<name>`."""
    inner: Any = estimator
    while isinstance(inner, Conditioned):
        inner = inner.inner
    return inner


def weighting_of(estimator: AdvantageEstimator) -> Any:
    """Its weighting; None where it has none."""
    weighting = getattr(innermost(estimator), "weighting", None)
    return weighting if callable(weighting) else None


def build_parts(config: Config, registry: Registry, given: Given | None = None) -> Parts:
    """Every part of the run.

    Raises:
        ConfigError: options that a part refuses, with the section's path; rewards that clash.
    """
    given = given or Given()
    labels: dict[str, str] = {}

    def made(kind: str, path: str, name: str, options: Mapping[str, Any]) -> Any:
        if getattr(registry.find(kind, name).load(), "made_of_sources", False):
            options = {**options, "sources": _sources(registry, options.get("sources"), f"{path}.sources")}
        labels[path] = f"{kind} {name!r} of {registry.find(kind, name).plugin.label}"
        return build(registry, kind, name, options, path)

    def estimator() -> Any:
        options = dict(config.estimator.options)
        if takes_weighting(registry.find("advantage estimator", config.estimator.name).load()):
            name, own = named(options.get("weighting") or "constant")
            options["weighting"] = made("weighting", "estimator.weighting", name, own)
        return made("advantage estimator", "estimator", config.estimator.name, options)

    evaluation = config.evaluation
    entries = _reward_entries(config, given, made)
    backend = given.rollout or made("rollout backend", "rollout", config.rollout.name, config.rollout.options)
    environment: Environment | None = None
    if (section := config.environment) is not None:
        environment = made("environment", "environment", section.name, section.options)
        rewards = EnvironmentRewards(environment)
        entries = {**entries, ENVIRONMENT: _environment_entry(rewards, section, entries)}
        template = chat_template(config.prompts, "prompts")
        backend = Conversations(backend, environment, rewards.reward_names, section, template)
    return Parts(
        registry=registry,
        scorer=RewardScorer(entries),
        estimator=given.estimator or estimator(),
        backend=backend,
        loss=given.loss or made("policy loss", "loss", config.loss.name, config.loss.options),
        policy=None
        if given.policy is not None
        else made("policy source", "policy", config.policy.name, config.policy.options),
        prompts=None
        if given.prompts is not None
        else made("prompt source", "prompts", config.prompts.name, config.prompts.options),
        evaluation_prompts=None
        if evaluation is None or given.evaluation_prompts is not None
        else made("prompt source", "evaluation.prompts", evaluation.prompts.name, evaluation.prompts.options),
        optimizer=made("optimizer", "optimizer", config.optimizer.name, config.optimizer.options),
        schedule=made("schedule", "optimizer.schedule", *named(config.optimizer.schedule)),
        environment=environment,
        given=given,
        labels=labels,
    )


_METHODS = {"policy source": "resolve", "prompt source": "load", "rollout backend": "generate"}
"""What is called of a part after other work has been done; other kinds are looked at where they are taken in."""


def build(registry: Registry, kind: str, name: str, options: Mapping[str, Any], path: str) -> Any:
    """One part, from its factory and options; what the factory refuses is reported under the section's path."""
    registered = registry.find(kind, name)
    factory = registered.load()
    revealed = with_secrets(options, path)
    try:
        part = factory(**revealed)
    except MorlError as error:
        raise type(error)(f"{path}: {without_secrets(str(error), options)}") from error
    except (TypeError, ValueError) as error:
        message = without_secrets(str(error), options)
        raise ConfigError(f"{path}: {kind} {name!r} refused its options: {message}") from error
    except (ImportError, OSError):  # what is not installed, not there or not allowed is told by its own words
        raise
    except BaseException as error:
        if not is_theirs(error):
            raise
        label = f"{path}: {kind} {name!r} of {registered.plugin.label}"
        raise PluginError(f"{label} could not be made: {without_secrets(told(error), options)}") from error
    if (method := _METHODS.get(kind)) is not None and not callable(getattr(part, method, None)):
        raise PluginError(
            f"{path}: {kind} {name!r} of {registered.plugin.label} is a {type(part).__name__} without a method"
            f" {method}(); expected what morl.hookspecs says of the kind"
        )
    return part


def _sources(registry: Registry, given: object, path: str) -> dict[str, Weighted]:
    """The sources of a mixture, each made by its own factory."""
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{path} must map names to prompt sources, e.g. {{math: {{name: jsonl, path: ..}}}}; got {given!r}"
        )
    made: dict[str, Weighted] = {}
    for key, part in given.items():
        if not isinstance(part, Mapping) or not isinstance(part.get("name"), str):
            raise ConfigError(f"{path}.{key} must be a mapping with the `name` of a prompt source and its options")
        options = {name: value for name, value in part.items() if name not in ("name", "weight")}
        registered = registry.find("prompt source", part["name"])
        checked = checked_options(registered.load(), options, f"{path}.{key}")
        source = build(registry, "prompt source", part["name"], checked, f"{path}.{key}")
        made[str(key)] = Weighted(source, part.get("weight", 1.0))
    return made


def max_staleness(backend: RolloutBackend) -> int:
    """How many versions older than its last sync a backend's completions may be."""
    return int(getattr(backend, "max_staleness", 0))


def correction_of(config: Config, backend: RolloutBackend) -> Literal["truncated", "masked"] | None:
    """The importance correction of a run with this backend."""
    staleness = config.rollout.lag + max_staleness(backend)
    return config.importance.in_force(staleness, bool(getattr(backend, "own_numerics", False)))


def _reward_entries(config: Config, given: Given, made: Callable[..., Any]) -> dict[str, RewardEntry]:
    entries: dict[str, RewardEntry] = {}
    passed = dict(given.rewards or {})
    for key, section in config.rewards.items():
        if key in passed:
            provider = _provider(passed.pop(key), key)
        else:
            provider = made("reward provider", f"rewards.{key}", section.name, section.options)
        entries[key] = RewardEntry(
            provider,
            weight=section.weight,
            timeout=section.timeout,
            on_failure=section.on_failure,
            bounds=section.bounds,
            max_failed_steps=section.max_failed_steps,
            when=None if section.when is None else _when(key, section.when),
        )
    for key, reward in passed.items():
        entries[key] = reward if isinstance(reward, RewardEntry) else RewardEntry(_provider(reward, key))
    return entries


def _environment_entry(
    rewards: EnvironmentRewards, section: EnvironmentConfig, others: Mapping[str, RewardEntry]
) -> RewardEntry:
    if ENVIRONMENT in others:
        raise ConfigError(
            f"rewards.{ENVIRONMENT}: an entry of this name stands for the rewards of the environment; rename yours"
        )
    if not rewards.reward_names:
        for key in ("weight", "bounds", "on_limit"):
            if getattr(section, key) != fields_dict(EnvironmentConfig)[key].default:
                raise ConfigError(
                    f"environment.{key}={getattr(section, key)} has no effect: the environment {section.name} gives no"
                    " rewards; name them under `rewards`"
                )
    return RewardEntry(
        rewards,
        weight=section.weight,
        timeout=None,  # they are there already
        on_failure=section.on_failure,
        bounds=section.bounds,
        max_failed_steps=section.max_failed_steps,
    )


def _provider(reward: Any, key: str) -> RewardProvider:
    try:
        return reward if isinstance(reward, RewardProvider) else FunctionReward(reward)
    except MorlError as error:
        raise type(error)(f"rewards.{key}: {error}") from error


def _when(key: str, given: object) -> When:
    try:
        return When.of(given)
    except ConfigError as error:
        raise ConfigError(f"rewards.{key}: {error}") from error
