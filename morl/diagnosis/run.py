"""One diagnosis, from a config to what was found: samples the initial policy, and asks the estimators."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from morl import interrupts, progress
from morl.config import parse
from morl.config.schema import Config, EvaluationConfig, HeldOutPromptsConfig
from morl.diagnosis.arguments import ESTIMATORS, PROMPTS
from morl.diagnosis.first_step import Push, needed_weight, pushes
from morl.diagnosis.measures import Price, RewardState, prices, reward_states
from morl.errors import ConfigError, suggest
from morl.evaluation.module import EvaluationModule
from morl.evaluation.run import evaluation_trainer
from morl.hookspecs import AdvantageEstimator
from morl.plugins import Registry
from morl.policy.load import check_model, load_policy
from morl.prompts import check_columns
from morl.runtime import seeds
from morl.runtime.checks import check_settings
from morl.runtime.loading import (
    encode_section,
    load_description,
    load_generation_config,
    prompt_limit,
    sampling_tokenizer,
)
from morl.runtime.overrides import check_overrides
from morl.runtime.parts import Parts, build, build_parts
from morl.runtime.process import run_settings
from morl.runtime.scores import BatchScores
from morl.types import RewardMatrix


@frozen
class FirstStep:
    """What one estimator's first step would do.

    Attributes:
        estimator: its name; the config's own is marked.
        pushes: by reward.
        needed: of the rewards that it pushes down: the weight that they need; None where none was found.
    """

    estimator: str
    pushes: Mapping[str, Push]
    needed: Mapping[str, float | None]


@frozen
class Diagnosis:
    """What a diagnosis found.

    Attributes:
        config: as resolved.
        prompts, group_size: that were sampled.
        weights: by reward.
        rewards: each reward by itself.
        prices: what one reward costs in another.
        steps: of the estimators.
        from_reference: names of rewards that compare the policy with its reference, which it is as yet.
        is_first_rank: whether this process is the one that reports.
    """

    config: Config
    prompts: int
    group_size: int
    weights: Mapping[str, float]
    rewards: Mapping[str, RewardState]
    prices: Sequence[Price]
    steps: Sequence[FirstStep]
    from_reference: frozenset[str] = frozenset()
    is_first_rank: bool = True


def diagnose(
    config: Mapping[str, Any],
    *,
    estimators: Sequence[str] = ESTIMATORS,
    prompts: int = PROMPTS,
    success: Mapping[str, float] | None = None,
    plugins: Iterable[object] = (),
) -> Diagnosis:
    """Samples the policy as it is and says what the first step of each estimator would push up or down.

    Completions are drawn as in training, `training.group_size` of each prompt, with seeds of their own.

    Args:
        config: in mapping form.
        estimators: names; the config's own is added.
        prompts: of the training prompts, drawn at random; all of them if there are fewer.
        success: reward -> score from which on a completion is successful.
        plugins: plugin modules or objects, besides those installed.

    Raises:
        ConfigError: an unknown estimator or reward, and whatever a training run would refuse.
        DataError: prompts that the model cannot take.
    """
    registry = Registry.for_config(config, plugins)
    resolved = parse(config, registry)
    asked = {name: build(registry, "advantage estimator", name, {}, "--estimators") for name in estimators}
    parts = build_parts(resolved, registry)
    check_settings(resolved, parts)
    for name in success or {}:
        if name not in (names := parts.scorer.names):
            raise ConfigError(f"--success: no reward {name!r}{suggest(name, names)}; rewards: {', '.join(names)}")
    with run_settings(resolved):
        trainer = evaluation_trainer(resolved.trainer)
        module = _module(resolved, parts, prompts)
        try:
            trainer.predict(module, return_predictions=False)
        finally:
            module.close()
            interrupts.over()
    assert module.scores is not None
    matrix = _matrix(module.scores, parts)
    from_reference = _from_reference(parts)
    size, own = resolved.training.group_size, resolved.estimator.name
    # The config's own estimator may be one of the others, with its defaults.
    steps = {name: one for name, one in asked.items() if one != parts.estimator}
    steps[f"{own} (this config)"] = parts.estimator
    return Diagnosis(
        config=resolved,
        prompts=len(module.prompts),
        group_size=size,
        weights={name: float(matrix.weights.get(name, 1.0)) for name in matrix.names},
        rewards=reward_states(matrix, size, success or {}, from_reference),
        prices=prices(matrix),
        steps=[first_step(name, one, matrix) for name, one in steps.items()],
        from_reference=from_reference,
        is_first_rank=trainer.is_global_zero,
    )


def first_step(name: str, estimator: AdvantageEstimator, matrix: RewardMatrix) -> FirstStep:
    """What an estimator would do with the rewards of the initial policy."""
    found = pushes(estimator, matrix)
    down = [
        reward for reward, push in found.items() if push.direction == "down" and matrix.weights.get(reward, 1.0) > 0
    ]
    return FirstStep(name, found, {reward: needed_weight(estimator, matrix, reward) for reward in down})


def _module(config: Config, parts: Parts, count: int) -> EvaluationModule:
    """Loads data, tokenizer and model, the cheap and telling first."""
    assert parts.prompts is not None
    assert parts.policy is not None
    progress.say("loading the prompts", wanted=config.trainer.progress)
    rows = parts.prompts.load()
    if len(rows):
        check_columns(rows, parts.scorer.required_columns, parts.scorer.applies)
    path = parts.policy.resolve()
    check_model(path)
    tokenizer, hf_config = load_description(path, config.policy.loading)
    generation_config = load_generation_config(path, hf_config, config.policy.loading)
    shown = sampling_tokenizer(config, tokenizer, hf_config, generation_config, [rows])
    check_overrides({"prompts": rows}, config, parts.backend, shown, hf_config, generation_config)
    limit = prompt_limit(hf_config, config.sampling)
    encoded = encode_section(rows, tokenizer, config.prompts, "prompts", hf_config, limit)
    drawn = random.Random(seeds.derive(config.seed, seeds.EVALUATION, 0)).sample(range(len(encoded)), len(encoded))
    chosen = [encoded[row] for row in sorted(drawn[:count])]
    progress.say(f"loading the model {path}", wanted=config.trainer.progress)
    own = config.policy
    policy = load_policy(
        path,
        dtype=own.dtype,
        attention=own.attention,
        lora=own.lora,
        quantisation=own.quantisation,
        loading=own.loading,
    )
    # Sampled like held-out prompts, which takes a section of them; with the settings of training.
    section = EvaluationConfig(
        prompts=HeldOutPromptsConfig(config.prompts.name, config.prompts.options), samples=config.training.group_size
    )
    return EvaluationModule(
        evolve(config, evaluation=section),
        parts,
        policy,
        shown,
        chosen,
        path,
        keep_samples=False,
        is_reference=parts.rewards_need_reference,
    )


def _from_reference(parts: Parts) -> frozenset[str]:
    names, entries = parts.scorer.names, parts.scorer.entries
    return frozenset(n for n in names if getattr(entries[parts.scorer.entry_of(n)].provider, "needs_reference", False))


def _matrix(scores: BatchScores, parts: Parts) -> RewardMatrix:
    return RewardMatrix(
        scores.values_BK,
        scores.positions_B,
        parts.scorer.names,
        parts.scorer.weights,
        valid_BK=~scores.values_BK.isnan() & ~scores.dropped_B[:, None],
        lengths_B=scores.lengths_B,
        spans=scores.spans,
        bounds=parts.scorer.bounds,
    )
