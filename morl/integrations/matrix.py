"""What the seams share: options to an estimator, and a trainer's columns of scores to a reward matrix."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import define
from torch import Tensor

from morl.advantage.scope import check_group_scope
from morl.errors import ConfigError, PluginError
from morl.hookspecs import AdvantageEstimator
from morl.integrations.stateful import adapt, check_turns, state_of
from morl.plugins import CONDITIONED, Registry
from morl.types import Advantages, RewardMatrix

_LOG = logging.getLogger("morl")
KIND = "advantage estimator"


def estimator(name: str, **options: Any) -> AdvantageEstimator:
    """An estimator by name, morl's own or a plugin's, with the options that a config of morl would give it.

    Args:
        name: such as `gdpo`; with `conditions` among the options, `conditioned-` may be left out.
        options: of the estimator; `weighting` is an object, a name, or a mapping with `name` and options.

    Raises:
        PluginError: an unknown name.
        ConfigError: options that the estimator refuses.

    >>> estimator("gdpo", conditions={"brief": {"on": "correct"}}, eps=0).inner.eps
    0
    """
    registry = Registry()
    if "conditions" in options and not name.startswith(CONDITIONED):
        name = CONDITIONED + name
    weighting = options.get("weighting")
    if isinstance(weighting, str | Mapping):
        given = {"name": weighting} if isinstance(weighting, str) else dict(weighting)
        if not isinstance(given.get("name"), str):
            raise ConfigError(f"weighting must be a name, or a mapping with `name` and options; got {weighting!r}")
        options["weighting"] = _made(registry, "weighting", str(given.pop("name")), given)
    made: AdvantageEstimator = _made(registry, KIND, name, options)
    return made


def _made(registry: Registry, kind: str, name: str, options: Mapping[str, Any]) -> Any:
    try:
        return registry.find(kind, name).load()(**options)
    except TypeError as error:
        raise ConfigError(f"{kind} {name!r} refused its options: {error}") from error


def matrix(
    scores: Mapping[str, Sequence[float | None] | Tensor],
    group_ids: Sequence[object],
    *,
    weights: Mapping[str, float] | None = None,
    lengths: Tensor | None = None,
    step: int = 0,
) -> RewardMatrix:
    """Columns of scores as a matrix of float64.

    Args:
        scores: one number per completion by reward name; None or NaN where it is missing.
        group_ids: what tells the prompts apart: integers, texts, anything with `==` and a hash.
        weights: by reward name; 1 where absent.
        lengths: sampled tokens of each completion.
        step: finished rollout batches.

    Raises:
        ConfigError: no reward, or columns of unlike length.
    """
    if not scores:
        raise ConfigError("no reward: expected scores by reward name")
    columns = [
        torch.as_tensor([math.nan if value is None else float(value) for value in column], dtype=torch.float64)
        for column in scores.values()
    ]
    for name, column in zip(scores, columns, strict=True):
        if len(column) != len(group_ids):
            raise ConfigError(f"reward {name!r} has {len(column)} scores for {len(group_ids)} completions")
    number: dict[object, int] = {}
    index = [number.setdefault(group, len(number)) for group in group_ids]
    return RewardMatrix(
        torch.stack(columns, 1),
        torch.tensor(index, dtype=torch.int64),
        tuple(scores),
        dict(weights or {}),
        lengths_B=lengths,
        step=step,
    )


def named_columns(
    values_BK: Tensor, group_ids_B: Tensor, names: Sequence[str] | None, weights_K: Tensor, *, step: int = 0
) -> RewardMatrix:
    """A trainer's matrix, in its dtype, on the CPU.

    Raises:
        ConfigError: names or weights that do not fit.
    """
    names = tuple(names) if names is not None else tuple(f"r{k}" for k in range(values_BK.shape[1]))
    if not len(names) == values_BK.shape[1] == len(weights_K):
        raise ConfigError(
            f"{values_BK.shape[1]} rewards came with the names {list(names)} and {len(weights_K)} weights"
        )
    weights = dict(zip(names, weights_K.tolist(), strict=True))
    return RewardMatrix(values_BK.detach().cpu(), group_ids_B.cpu(), names, weights, step=step)


@define
class Seam:
    """An estimator inside a trainer that calls it once per rollout batch.

    Attributes:
        trainer: what errors call it.
        estimator: anybody's.
        step: calls so far.
        by_group: the trainer hands over one group at a time.
    """

    trainer: str
    estimator: AdvantageEstimator
    step: int = 0
    by_group: bool = False

    def __attrs_post_init__(self) -> None:
        check_turns(self.estimator, self.trainer)
        if self.by_group:
            check_group_scope(self.estimator, self.trainer)
        if state_of(self.estimator):
            _LOG.warning("%r adapts, and the checkpoints of %s do not hold its state", self.estimator, self.trainer)

    def ask(self, rewards: RewardMatrix) -> Tensor:
        """Advantages (B,); then the step is over for a weighting that adapts.

        Raises:
            ConfigError: options that name a reward which is not there.
            PluginError: an answer that is none.
        """
        if hasattr(self.estimator, "check_rewards"):
            self.estimator.check_rewards(rewards.names)
        answer = asked(self.estimator, rewards, self.trainer)
        adapt(self.estimator, rewards, answer)
        self.step += 1
        return answer.values_B


def asked(chosen: AdvantageEstimator, rewards: RewardMatrix, seam: str, *, tokens: bool = False) -> Advantages:
    """The estimator's answer, checked where it enters.

    Args:
        tokens: whether advantages of tokens are of use.

    Raises:
        PluginError: no `Advantages` of the right shape, or numbers that are not finite.
        ConfigError: advantages of tokens, which would be lost.
    """
    answer = chosen(rewards)
    shape = tuple(rewards.values_BK.shape)
    if not isinstance(answer, Advantages):
        raise PluginError(f"{seam}: {chosen!r} returned {type(answer).__name__}; expected morl.types.Advantages")
    if answer.values_BT is not None and not tokens:
        raise ConfigError(
            f"{seam}: {chosen!r} gives advantages to tokens, of which only the means over completions would arrive; use"
            " an estimator of completions, or train with morl"
        )
    for got, expected in ((answer.values_B, shape[:1]), (answer.contributions_BK, shape)):
        if tuple(got.shape) != expected or not bool(torch.isfinite(got).all()):
            raise PluginError(
                f"{seam}: {chosen!r} returned a tensor {tuple(got.shape)}; expected {expected} finite numbers"
            )
    return answer
