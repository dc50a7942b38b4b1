"""morl's estimators in NeMo-RL: one assignment in a start script of your own, before `grpo_train`.

    from morl.integrations.nemo_rl import install

    install("gdpo", weights={"brief": 0.5}, conditions={"brief": {"on": "correct"}})

and `grpo.adv_estimator.name: gdpo` in the config.  The rewards are the keys `reward/<name>` of the batch.  NeMo-RL
tells prompts apart by their tokens, so two rows with one text are one group.  Its settings
`use_leave_one_out_baseline` and `normalize_rewards` then choose nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from morl.errors import ConfigError
from morl.integrations.matrix import Seam, estimator, matrix

HOME, NAME = "nemo_rl.algorithms.grpo", "GDPOAdvantageEstimator"


def install(name: str, *, weights: Mapping[str, float] | None = None, **options: Any) -> None:
    """Puts the estimator where NeMo-RL looks for its own GDPO.

    Args:
        name: of the estimator.
        weights: by reward name; 1 where absent.
        options: of the estimator.

    Raises:
        ConfigError: options that are refused, or a NeMo-RL without this class.
    """
    module = importlib.import_module(HOME)
    if not hasattr(module, NAME):
        raise ConfigError(f"{HOME} has no {NAME}; morl knows NeMo-RL of autumn 2026")
    setattr(module, NAME, estimator_class(name, weights=weights, **options))


def estimator_class(name: str, *, weights: Mapping[str, float] | None = None, **options: Any) -> type[Any]:
    """A class with the signature of NeMo-RL's advantage estimators."""
    seam = Seam("NeMo-RL", estimator(name, **options))

    class MorlAdvantageEstimator:
        def __init__(self, estimator_config: Any, loss_config: Any) -> None:
            if getattr(estimator_config, "reward_weights", None) is not None:
                raise ConfigError("give the weights to `install`; adv_estimator.reward_weights has no effect here")

        def compute_advantage(
            self,
            prompt_ids: Tensor,
            rewards: Tensor,
            mask: Tensor,
            repeated_batch: Mapping[str, Any],
            valid_mask: Tensor | None = None,
            **_: Any,
        ) -> Tensor:
            """Advantages (B, S) of a batch; rows whose `valid_mask` is 0 take no part and get 0."""
            columns = {key.removeprefix("reward/"): repeated_batch[key] for key in _keys(repeated_batch)}
            valid_B = torch.ones(len(mask), dtype=torch.bool) if valid_mask is None else valid_mask.bool().cpu()
            _, groups_B = torch.unique(prompt_ids, dim=0, return_inverse=True)
            kept = valid_B.nonzero()[:, 0].tolist()
            matrix_of_kept = matrix(
                {name: column.cpu()[valid_B] for name, column in columns.items()},
                [int(groups_B[row]) for row in kept],
                weights=weights,
                lengths=mask.sum(1).cpu()[valid_B].to(torch.int64),
                step=seam.step,
            )
            values_B = torch.zeros(len(mask), dtype=torch.float64)
            values_B[valid_B] = seam.ask(matrix_of_kept)
            return values_B.to(rewards)[:, None].expand(mask.shape)

    return MorlAdvantageEstimator


def _keys(batch: Mapping[str, Any]) -> list[str]:
    keys = sorted(key for key in batch if str(key).startswith("reward/"))
    if not keys:
        raise ConfigError("the batch has no rewards `reward/<name>`; the environment must return them by name")
    return keys
