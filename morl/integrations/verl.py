"""morl's estimators in verl 0.9: `algorithm.adv_estimator=morl-<name>`, once the distribution is installed.

    algorithm.adv_estimator=morl-gdpo
    +algorithm.gdpo_reward_keys=[correct,brief]
    +algorithm.gdpo_reward_weights=[1.0,0.5]
    "+algorithm.morl={conditions: {brief: {on: correct}}}"

verl hands the scores of single rewards over to none but its own name `gdpo`, and in its newer trainer to no name at
all.  So what is registered here reads them where they would be lost: `remembering_legacy` and `remembering_v1` wrap the
functions of verl that still hold them.  Rows that verl adds to fill a batch, whose response mask is 0, take no part.  A
KL penalty in the reward changes `token_level_rewards`, which are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor

from morl.errors import ConfigError
from morl.integrations.matrix import Seam, estimator, matrix

PREFIX = "morl-"


@frozen(eq=False)
class Handed:
    """What verl held of a batch: scores by reward name, one per row, and in its newer trainer the key of each row."""

    scores: Mapping[str, Sequence[Any]]
    keys: Sequence[str] | None = None


_HANDED: ContextVar[Handed | None] = ContextVar("morl_verl_scores", default=None)


@contextmanager
def _handing(handed: Handed) -> Iterator[None]:
    token = _HANDED.set(handed)
    try:
        yield
    finally:
        _HANDED.reset(token)


def remembering_legacy(compute_advantage: Callable[..., Any]) -> Callable[..., Any]:
    """Of `verl.trainer.ppo.ray_trainer`: its batch holds the scores in `non_tensor_batch`."""

    def wrapped(data: Any, *args: Any, **kwargs: Any) -> Any:
        if _HANDED.get() is not None:  # called by the newer trainer, whose batch has lost them
            return compute_advantage(data, *args, **kwargs)
        with _handing(Handed(data.non_tensor_batch)):
            return compute_advantage(data, *args, **kwargs)

    return wrapped


def remembering_v1(method: Callable[..., Any], queue: Any) -> Callable[..., Any]:
    """Of `verl.trainer.ppo.v1.trainer_base.PPOTrainer`: the scores are in the extra fields of its queue."""

    def _compute_advantage(self: Any, batch: Any, metrics: dict[str, Any]) -> Any:
        if not str(self.config.algorithm.adv_estimator).startswith(PREFIX):
            return method(self, batch, metrics)
        held = queue.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields"])
        rows = [_plain(row).get("reward_extra_info") or {} for row in held["extra_fields"]]
        names = dict.fromkeys(name for row in rows for name in row)
        scores = {name: [row.get(name) for row in rows] for name in names}
        with _handing(Handed(scores, tuple(batch.keys))):
            return method(self, batch, metrics)

    return _compute_advantage


def _plain(row: Any) -> Mapping[str, Any]:
    """A row of the queue, which may be wrapped as data without a tensor."""
    row = getattr(row, "data", row)
    return row if isinstance(row, Mapping) else {}


@define
class AdvantageFunction:
    """What verl calls under a name of morl.

    Attributes:
        name: of the estimator.
        made: the estimator by its options, kept, for a weighting may adapt.
    """

    name: str
    made: dict[str, Seam] = field(factory=dict)

    def __call__(
        self,
        token_level_rewards: Tensor,
        response_mask: Tensor,
        config: Any = None,
        index: Sequence[object] | None = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        """Advantages and returns, (B, T), 0 where the response mask is.

        Raises:
            ConfigError: no keys, keys without scores, weights that do not fit, or options that are refused.
        """
        handed, keys = _HANDED.get(), [*((config or {}).get("gdpo_reward_keys") or ())]
        if handed is None or index is None:
            raise ConfigError(
                f"{PREFIX}{self.name}: verl handed over no scores of single rewards; morl wraps the trainers of verl"
                " 0.9, and this call came from elsewhere"
            )
        scores = _columns(handed, keys)
        weights = _weights(keys, (config or {}).get("gdpo_reward_weights"))
        valid_B = response_mask.bool().any(1)
        rows, spread = _sessions(handed.keys, valid_B)
        seam = self._seam((config or {}).get("morl"))
        rewards = matrix(
            {name: [column[row] for row in rows] for name, column in scores.items()},
            [str(index[row]) for row in rows],
            weights=weights,
            lengths=response_mask.sum(1).cpu()[rows].to(torch.int64),
            step=seam.step,
        )
        values_B = torch.zeros(len(valid_B), dtype=torch.float64)
        if rows:
            values_B[list(spread)] = seam.ask(rewards)[[*spread.values()]]
        advantages_BT = values_B.to(token_level_rewards)[:, None] * response_mask
        return advantages_BT, advantages_BT

    def _seam(self, options: Any) -> Seam:
        given = _mapping(options)
        if (key := repr(given)) not in self.made:
            self.made[key] = Seam("verl", estimator(self.name, **given))
        return self.made[key]


def _columns(handed: Handed, keys: Sequence[str]) -> dict[str, Sequence[Any]]:
    there = [name for name in handed.scores if name not in ("uid", "index")]
    if not keys:
        raise ConfigError(
            "algorithm.gdpo_reward_keys must name the rewards, such as +algorithm.gdpo_reward_keys=[correct,brief];"
            f" the batch has {', '.join(there) or 'no scores but their sum'}"
        )
    for key in keys:
        if key not in handed.scores:
            raise ConfigError(
                f"algorithm.gdpo_reward_keys: the batch has no scores {key!r}, only {', '.join(there) or 'their sum'};"
                " compute_score must return a dict with this key"
            )
    return {key: handed.scores[key] for key in keys}


def _weights(keys: Sequence[str], weights: Any) -> dict[str, float]:
    given = [*weights] if weights is not None else [1.0] * len(keys)
    if len(given) != len(keys):
        raise ConfigError(f"algorithm.gdpo_reward_weights has {len(given)} numbers for {len(keys)} reward keys")
    return {key: float(weight) for key, weight in zip(keys, given, strict=True)}


def _mapping(options: Any) -> dict[str, Any]:
    """Options as plain values; in verl's config they are OmegaConf's."""
    if options is None:
        return {}
    if not isinstance(options, Mapping) and not hasattr(options, "items"):
        raise ConfigError(f"algorithm.morl must be a mapping of the estimator's options; got {options!r}")
    return {str(key): _mapping(value) if hasattr(value, "items") else value for key, value in options.items()}


def _sessions(keys: Sequence[str] | None, valid_B: Tensor) -> tuple[list[int], dict[int, int]]:
    """The rows that are asked about, and for each row that gets an advantage the place of its answer.

    A session of the newer trainer may have several outputs, `<uid>_<session>_<number>`; the last one is asked about, as
    verl itself does for grpo, and all of them bear its advantage.
    """
    last: dict[str, tuple[int, int]] = {}
    names: dict[int, str] = {}
    for row in valid_B.nonzero()[:, 0].tolist():
        session, _, number = keys[row].rpartition("_") if keys is not None else (str(row), "", "0")
        names[row] = session
        if session not in last or last[session][0] < int(number):
            last[session] = (int(number), row)
    rows = [row for _, row in last.values()]
    place = {session: number for number, session in enumerate(last)}
    return rows, {row: place[session] for row, session in names.items()}
