"""morl's estimators in TRL's `GRPOTrainer`: a subclass of two methods.

    from trl import GRPOTrainer
    from morl.integrations.trl import with_estimator
    from morl.integrations import estimator

    Trainer = with_estimator(GRPOTrainer, estimator("gdpo", conditions={"brief": {"on": "correct"}}))
    Trainer(model=.., reward_funcs=[correct, brief], ..).train()

One method captures the matrix of rewards, gathered from all ranks; the other replaces the advantages that TRL computed
from it.  Everything else is TRL's: generation, loss, logging, `frac_reward_zero_std`, which is of its own sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from morl.errors import ConfigError
from morl.hookspecs import AdvantageEstimator
from morl.integrations.matrix import asked
from morl.integrations.matrix import estimator as named
from morl.integrations.stateful import adapt, check_parts, check_turns, restore, state_of
from morl.types import RewardMatrix

HOME = "trl.trainer.grpo_trainer"
METHODS = ("_calculate_rewards", "_generate_and_score_completions")
STATE = "morl_estimator.pt"
"""File in TRL's checkpoints, where an estimator or its weighting remembers something."""
_IDLE = {"multi_objective_aggregation": "sum_then_normalize", "scale_rewards": "group"}
"""Settings of TRL that choose its own advantages, and their defaults."""


def with_estimator(
    trainer_class: type[Any],
    estimator: AdvantageEstimator | str,
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> type[Any]:
    """A subclass of a GRPO trainer of TRL that takes its advantages from an estimator of morl.

    Names and weights of the rewards are the trainer's: `reward_func_names`, where a second function of one name is
    called `<name>_2`, and `reward_weights`.  A reward of None is missing.  The share of each reward in the advantages
    is logged as `advantages/<name>/share`.  In evaluation the estimator is asked, and weightings do not adapt; their
    state is written into checkpoints and read when training is resumed.

    Args:
        trainer_class: `GRPOTrainer`, or a class derived from it that leaves
            `_generate_and_score_completions` alone.
        estimator: one of morl's, a plugin's, or its name.
        bounds: floor and ceiling by reward name, for weightings that need them.

    Raises:
        ConfigError: a trainer without these methods, or whose advantages are stored elsewhere; an estimator of turns,
            which TRL does not tell apart; when an instance is made: options that name unknown rewards, groups that are
            too small, settings that would do nothing.
    """
    _check_class(trainer_class)
    chosen = named(estimator) if isinstance(estimator, str) else estimator
    check_turns(chosen, "TRL")

    class WithEstimator(trainer_class):  # type: ignore[misc]
        """TRL's trainer with morl's advantages."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._morl_step = 0
            # Only now: environments add rewards of their own while the trainer is made.
            _check_trainer(self, chosen, bounds or {})

        def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
            rewards_BK: Tensor = super()._calculate_rewards(*args, **kwargs)
            self._morl_rewards = rewards_BK
            return rewards_BK

        def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
            training = bool(self.model.training)
            rewards = _matrix(self, output, training, bounds or {})
            answer = asked(chosen, rewards, "TRL")
            if training:
                adapt(chosen, rewards, answer)
                self._morl_step += 1
            mine = output["advantages"]
            first = self.accelerator.process_index * len(mine)
            output["advantages"] = answer.values_B[first : first + len(mine)].to(mine)
            _log(self, rewards.names, answer.values_B, answer.contributions_BK, "train" if training else "eval")
            return output

        def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            super()._save_checkpoint(*args, **kwargs)
            if self.args.should_save:
                folder = Path(self._get_output_dir(trial=None)) / f"checkpoint-{self.state.global_step}"
                torch.save({"step": self._morl_step, **state_of(chosen)}, folder / STATE)

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            super()._load_optimizer_and_scheduler(checkpoint)
            if checkpoint is not None:
                path = Path(checkpoint) / STATE
                if not path.is_file():
                    raise ConfigError(f"{checkpoint} has no {STATE}: it was not written by a trainer with_estimator")
                state = torch.load(path, weights_only=True, map_location="cpu")
                self._morl_step = state["step"]
                restore(chosen, state)

    WithEstimator.__name__ = WithEstimator.__qualname__ = f"{trainer_class.__name__}WithEstimator"
    return WithEstimator


def _check_class(trainer_class: type[Any]) -> None:
    name = getattr(trainer_class, "__name__", repr(trainer_class))
    missing = [method for method in METHODS if not hasattr(trainer_class, method)]
    if missing:
        raise ConfigError(
            f"{name} has no {' and no '.join(missing)}; with_estimator is for GRPOTrainer of TRL 0.29 to 1.16"
        )
    (owner,) = [base for base in trainer_class.__mro__ if METHODS[1] in vars(base)][:1]
    if owner.__module__ != HOME:
        raise ConfigError(
            f"{name} gets {METHODS[1]} from {owner.__module__}.{owner.__name__}, which may use its advantages before"
            " they can be replaced; derive it from trl.GRPOTrainer without overriding this method"
        )


def _check_trainer(trainer: Any, estimator: Any, bounds: Mapping[str, tuple[float, float]]) -> None:
    names = _distinct(trainer.reward_func_names)
    for setting, default in _IDLE.items():
        if getattr(trainer.args, setting, default) != default:
            raise ConfigError(
                f"{setting}={getattr(trainer.args, setting)!r} chooses TRL's own advantages and has no effect here;"
                " leave it out, and choose an estimator of morl (its preset 'trl' has TRL's numbers)"
            )
    if (least := int(getattr(estimator, "min_group_size", 1))) > trainer.num_generations:
        raise ConfigError(f"{estimator!r} needs num_generations >= {least}; got {trainer.num_generations}")
    check_parts(estimator, names, bounds, dict(zip(names, trainer.reward_weights.tolist(), strict=True)))
    if unknown := [name for name in bounds if name not in names]:
        raise ConfigError(f"bounds for unknown reward {unknown[0]!r}; rewards: {', '.join(names)}")


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names as they are, the second `name` as `name_2`: two lambdas are called alike."""
    taken: list[str] = []
    for name in names:
        number, free = 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.append(free)
    return tuple(taken)


def _matrix(
    trainer: Any, output: Mapping[str, Any], training: bool, bounds: Mapping[str, tuple[float, float]]
) -> RewardMatrix:
    """Of all ranks, whose completions stand rank by rank, each group side by side."""
    rewards_BK = trainer._morl_rewards
    size = trainer.num_generations if training else getattr(trainer, "num_generations_eval", trainer.num_generations)
    sampled_BT = output["completion_mask"]
    if output.get("tool_mask") is not None:
        sampled_BT = sampled_BT * output["tool_mask"]
    names = _distinct(trainer.reward_func_names)
    return RewardMatrix(
        rewards_BK,
        torch.arange(len(rewards_BK), device=rewards_BK.device) // size,
        names,
        dict(zip(names, trainer.reward_weights.tolist(), strict=True)),
        lengths_B=trainer.accelerator.gather(sampled_BT.sum(1)),
        bounds=bounds,
        step=trainer._morl_step,
    )


def _log(trainer: Any, names: Sequence[str], values_B: Tensor, parts_BK: Tensor, mode: str) -> None:
    """Puts the advantages where TRL has just logged its own, and the share of each reward beside its metrics."""
    table = trainer._logs["advantages"]
    for _ in range(min(len(values_B), len(table))):
        table.pop()
    table.extend(values_B.tolist())
    sizes_K = parts_BK.abs().double().sum(0)
    shares_K = sizes_K / sizes_K.sum().clamp(min=torch.finfo(torch.float64).tiny)
    for name, share in zip(names, shares_K.tolist(), strict=True):
        trainer._metrics[mode][f"advantages/{name}/share"].append(share)
