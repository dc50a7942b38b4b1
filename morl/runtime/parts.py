"""From names in the config to the objects that do the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from morl.config.schema import Config, HeldOutPromptsConfig, RewardConfig
from morl.errors import ConfigError, MorlError
from morl.hookspecs import (
    AdvantageEstimator,
    PolicyLoss,
    PolicySource,
    PromptSource,
    RewardProvider,
    RolloutBackend,
)
from morl.plugins import Registry
from morl.reward import FunctionReward, RewardEntry, RewardScorer
from morl.types import Prompt


@frozen(eq=False)
class Given:
    """Objects that a caller passes to `morl.train` in place of the config's sections of the same names.

    Attributes:
        prompts: training prompts.
        evaluation_prompts: held-out ones.
        rewards: providers, entries or plain functions (TRL or verl style) by reward name.
        estimator, rollout, loss: parts.
        policy: the path of a model folder, or a Hugging Face causal LM.
        tokenizer: of a policy that is passed as a model.
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
        return frozenset(given | ({"evaluation.prompts"} if self.evaluation_prompts is not None else set()))


@define(eq=False)
class Parts:
    """The parts of one run, built from options but not started: nothing here has loaded a model or a data set."""

    registry: Registry
    scorer: RewardScorer
    estimator: AdvantageEstimator
    backend: RolloutBackend
    loss: PolicyLoss
    policy: PolicySource | None
    prompts: PromptSource | None
    evaluation_prompts: PromptSource | None
    given: Given = field(factory=Given)


def build_parts(config: Config, registry: Registry, given: Given | None = None) -> Parts:
    """Every part of the run.

    Raises:
        ConfigError: options that a part refuses, with the section's path; rewards that clash.
    """
    given = given or Given()
    evaluation = config.evaluation
    return Parts(
        registry=registry,
        scorer=RewardScorer(_reward_entries(config, registry, given)),
        estimator=given.estimator
        or build(registry, "advantage estimator", config.estimator.name, config.estimator.options, "estimator"),
        backend=given.rollout
        or build(registry, "rollout backend", config.rollout.name, config.rollout.options, "rollout"),
        loss=given.loss or build(registry, "policy loss", config.loss.name, config.loss.options, "loss"),
        policy=None
        if given.policy is not None
        else build(registry, "policy source", config.policy.name, config.policy.options, "policy"),
        prompts=None if given.prompts is not None else _prompt_source(registry, config.prompts, "prompts"),
        evaluation_prompts=None
        if evaluation is None or given.evaluation_prompts is not None
        else _prompt_source(registry, evaluation.prompts, "evaluation.prompts"),
        given=given,
    )


def build(registry: Registry, kind: str, name: str, options: Mapping[str, Any], path: str) -> Any:
    """One part, from its factory and options; what the factory refuses is reported under the section's path."""
    factory = registry.find(kind, name).load()
    try:
        return factory(**options)
    except MorlError as error:
        raise type(error)(f"{path}: {error}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {kind} {name!r} refused its options: {error}") from error


def max_staleness(backend: RolloutBackend) -> int:
    """How many versions older than its last sync a backend's completions may be."""
    return int(getattr(backend, "max_staleness", 0))


def _prompt_source(registry: Registry, section: HeldOutPromptsConfig, path: str) -> Any:
    return build(registry, "prompt source", section.name, section.options, path)


def _reward_entries(config: Config, registry: Registry, given: Given) -> dict[str, RewardEntry]:
    entries = {key: _reward_entry(registry, key, section) for key, section in config.rewards.items()}
    for key, reward in (given.rewards or {}).items():
        if isinstance(reward, RewardEntry):
            entries[key] = reward
        else:
            entries[key] = RewardEntry(reward if isinstance(reward, RewardProvider) else FunctionReward(reward))
    return entries


def _reward_entry(registry: Registry, key: str, section: RewardConfig) -> RewardEntry:
    provider = build(registry, "reward provider", section.name, section.options, f"rewards.{key}")
    return RewardEntry(provider, weight=section.weight, timeout=section.timeout, on_failure=section.on_failure)
