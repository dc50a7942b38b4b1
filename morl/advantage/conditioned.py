"""Conditioned rewards: an easy reward that counts only where a harder one was reached."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args, get_type_hints

import torch
from attrs import Attribute, evolve, field, frozen
from torch import Tensor

from morl.advantage.scope import Scope, scope_of
from morl.errors import ConfigError, suggest
from morl.types import Advantages, RewardMatrix, TurnRewards

CONDITIONS = "conditions"
Otherwise = Literal["zero", "missing"]


def _check_threshold(instance: object, attribute: Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"at_least of a condition must be a finite number; got {value!r}")


def _check_name(instance: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"`on` of a condition must be the name of a reward; got {value!r}")


def _check_otherwise(instance: object, attribute: Attribute[Any], value: object) -> None:
    if value not in get_args(Otherwise):
        raise ConfigError(f"`otherwise` of a condition must be zero or missing; got {value!r}")


@frozen
class Condition:
    """When a reward counts.

    Args:
        on: name of the reward that must be reached.
        at_least: the value that it must reach.
        otherwise: what stands where it is not reached: `zero`, or `missing`, so that the reward compares only the
            completions that reached it (PAPO, arXiv 2603.26535).

    Raises:
        ConfigError: a name that is not text, a threshold that is not a finite number, another `otherwise`.
    """

    on: str = field(validator=_check_name)
    at_least: float = field(default=1.0, validator=_check_threshold)
    otherwise: Otherwise = field(default="zero", validator=_check_otherwise)


def _conditions(given: object) -> dict[str, Condition]:
    """Conditions by reward name; plain mappings, as YAML brings them, become `Condition`."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"conditions must map reward names to conditions; got {given!r}")
    return {name: _condition(name, entry) for name, entry in given.items()}


def _condition(name: str, entry: object) -> Condition:
    if isinstance(entry, Condition):
        return entry
    if not isinstance(entry, Mapping) or "on" not in entry or not set(entry) <= {"on", "at_least", "otherwise"}:
        raise ConfigError(
            f"the condition of reward {name!r} must be {{on: <reward>, at_least: <number>}}, at_least 1 by default, and"
            f" optionally otherwise: zero or missing; got {entry!r}"
        )
    return Condition(**entry)


def textbook_conditioned(rewards_PGK: Tensor, k: int, on: int, at_least: float = 1.0) -> Tensor:
    """The rewards that `Conditioned` hands to its estimator where reward `k` has the one condition on reward `on`."""
    conditioned_PGK = rewards_PGK.clone()
    conditioned_PGK[:, :, k] *= rewards_PGK[:, :, on] >= at_least
    return conditioned_PGK


@frozen
class Conditioned:
    """Any estimator, on conditioned rewards (GDPO paper, eq. 8).

        r_k counts only where r_on >= at_least; elsewhere it is 0 or, with `otherwise: missing`, missing.

    The rewards that are logged stay as they were scored: only what the inner estimator sees is changed.

    Chains are allowed.  The threshold is always compared with the score as it was given; a reward that is itself
    conditioned satisfies nothing where it does not count.  With `length on correct` and `style on length`, style
    counts where the completion is correct *and* short.

    What is not known is not decided: where `on` is missing, or is itself conditioned on something missing, the reward
    becomes missing rather than 0.  A missing reward stays missing.  Where `on` was scored and does not count, this is
    known, whatever its own `otherwise` puts there.

    Args:
        inner: an estimator; called with the conditioned rewards.
        conditions: condition by name of the reward that it limits; mappings `{on: .., at_least: ..}` are accepted.

    Raises:
        ConfigError: no condition at all, a malformed one, or a cycle.

    >>> from morl.advantage import GRPONoStd
    >>> values = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> rewards = RewardMatrix.from_groups(values, names=("correct", "short"))
    >>> GRPONoStd()(rewards).values_B
    tensor([0., 0.])
    >>> Conditioned(GRPONoStd(), {"short": {"on": "correct"}})(rewards).values_B
    tensor([ 0.5000, -0.5000])
    """

    inner: Callable[[RewardMatrix], Advantages]
    conditions: Mapping[str, Condition] = field(converter=_conditions)

    def __attrs_post_init__(self) -> None:
        if not self.conditions:
            raise ConfigError(
                "a conditioned estimator needs conditions, such as {length: {on: correctness, at_least: 1}};"
                " without any, use the plain estimator"
            )
        self._order()

    @property
    def min_group_size(self) -> int:
        """That of the inner estimator."""
        return int(getattr(self.inner, "min_group_size", 1))

    @property
    def scope(self) -> Scope:
        """That of the inner estimator."""
        return scope_of(self.inner)

    def check_rewards(self, names: Sequence[str]) -> None:
        """Whether every reward that the conditions name exists; called before training.

        Raises:
            ConfigError: one that does not.
        """
        for name, condition in self.conditions.items():
            for wanted, where in ((name, "conditions"), (condition.on, f"the condition of {name!r}")):
                if wanted not in names:
                    raise ConfigError(
                        f"{where}: unknown reward {wanted!r}{suggest(wanted, names)}; rewards: {', '.join(names)}"
                    )
        inner_check = getattr(self.inner, "check_rewards", None)
        if inner_check is not None:
            inner_check(names)

    def check_bounds(self, bounds: Mapping[str, tuple[float, float]], weights: Mapping[str, float]) -> None:
        """Whether the conditions can be reached, and the inner estimator works with the bounds as they change them.

        Raises:
            ConfigError: a threshold above the ceiling of its reward.
        """
        for name, condition in self.conditions.items():
            if condition.on in bounds and condition.at_least > bounds[condition.on][1]:
                raise ConfigError(
                    f"the condition of {name!r} can never be reached: at_least is {condition.at_least:g}, and the"
                    f" bounds of {condition.on!r} are {list(bounds[condition.on])}"
                )
        inner_check = getattr(self.inner, "check_bounds", None)
        if inner_check is not None:
            inner_check({name: self._with_zero(name, *pair) for name, pair in bounds.items()}, weights)

    def __call__(self, rewards: RewardMatrix) -> Advantages:
        """The inner estimator's advantages of the conditioned rewards.

        Raises:
            ConfigError: a condition names a reward that is not there.
        """
        return self.inner(self.transform(rewards))

    def transform(self, rewards: RewardMatrix) -> RewardMatrix:
        """The rewards as the inner estimator sees them."""
        counts = self.counts(rewards)
        column = {name: k for k, name in enumerate(rewards.names)}
        values_BK, valid_BK = rewards.values_BK.clone(), rewards.valid_BK.clone()
        known: dict[str, Tensor] = {}
        for name in self._order():
            condition = self.conditions[name]
            k, on = column[name], column[condition.on]
            known[name] = rewards.valid_BK[:, k] & known.get(condition.on, rewards.valid_BK[:, on])
            if condition.otherwise == "zero":
                values_BK[:, k] = torch.where(counts[name], values_BK[:, k], 0.0)
                valid_BK[:, k] = known[name]
            else:
                valid_BK[:, k] = known[name] & counts[name]
        bounds = {name: self._with_zero(name, *pair) for name, pair in rewards.bounds.items()}
        turns = _turns_that_count(rewards.turn_rewards, counts)
        return evolve(rewards, values_BK=values_BK, valid_BK=valid_BK, bounds=bounds, turn_rewards=turns)

    def counts(self, rewards: RewardMatrix) -> dict[str, Tensor]:
        """Where the condition of each conditioned reward is reached, bool (B,), by name."""
        self.check_rewards(rewards.names)
        column = {name: k for k, name in enumerate(rewards.names)}
        counts: dict[str, Tensor] = {}
        for name in self._order():
            condition = self.conditions[name]
            on_B = rewards.values_BK[:, column[condition.on]]
            # In the dtype of the scores: a float32 score of 0.7 reaches a threshold of 0.7.
            counts[name] = on_B >= on_B.new_tensor(condition.at_least)
            if condition.on in counts:
                counts[name] &= counts[condition.on]
        return counts

    def _with_zero(self, name: str, low: float, high: float) -> tuple[float, float]:
        """Bounds of a conditioned reward hold the 0 that may stand where it does not count."""
        zero = name in self.conditions and self.conditions[name].otherwise == "zero"
        return (min(low, 0.0), max(high, 0.0)) if zero else (low, high)

    def _order(self) -> list[str]:
        """Conditioned rewards, each after the one it depends on."""
        order: list[str] = []
        for start in self.conditions:
            chain = [start]
            while (on := self.conditions[chain[-1]].on) in self.conditions and on not in order:
                if on in chain:
                    cycle = " on ".join([*chain[chain.index(on) :], on])
                    raise ConfigError(f"conditions form a cycle: {cycle}; no reward in it could ever be decided")
                chain.append(on)
            order += [name for name in reversed(chain) if name not in order]
        return order


def _turns_that_count(
    turn_rewards: tuple[TurnRewards, ...] | None, counts: Mapping[str, Tensor]
) -> tuple[TurnRewards, ...] | None:
    """Rewards of turns without those of conditioned rewards that do not count."""
    if turn_rewards is None:
        return None
    counted = {name: counts_B.tolist() for name, counts_B in counts.items()}
    return tuple(
        tuple({n: r for n, r in turn.items() if n not in counted or counted[n][row]} for turn in turns)
        for row, turns in enumerate(turn_rewards)
    )


def conditioned_factory(inner: Callable[..., Any]) -> Callable[..., Conditioned]:
    """A factory of `Conditioned` around what `inner` makes, with the options of both.

    Its signature is real, so that a config reader sees `conditions` beside the inner estimator's own options.

    Raises:
        ConfigError: the inner estimator has an option `conditions` itself.
    """
    options = inspect.signature(inner).parameters
    if CONDITIONS in options:
        raise ConfigError(f"{_name(inner)} has an option {CONDITIONS!r} of its own and cannot be conditioned")

    def factory(*, conditions: Mapping[str, Condition], **options: Any) -> Conditioned:
        return Conditioned(inner=inner(**options), conditions=conditions)

    hints = _hints(inner)
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = inspect.Parameter(CONDITIONS, keyword, annotation=Mapping[str, Condition])
    taken = [
        option.replace(
            kind=option.kind if option.kind is option.VAR_KEYWORD else keyword,
            annotation=hints.get(option.name, option.annotation),
        )
        for option in options.values()
        if option.kind is not option.VAR_POSITIONAL
    ]
    parameters = [own, *taken]
    factory.__signature__ = inspect.Signature(parameters, return_annotation=Conditioned)  # type: ignore[attr-defined]
    factory.__annotations__ = {p.name: p.annotation for p in parameters if p.annotation is not p.empty}
    factory.__name__ = factory.__qualname__ = f"conditioned_{_name(inner)}"
    factory.__doc__ = _documentation(inner)
    return factory


def _name(inner: Callable[..., Any]) -> str:
    return getattr(inner, "__name__", type(inner).__name__)


def _hints(inner: Callable[..., Any]) -> dict[str, Any]:
    """Resolved annotations of the parameters; those that cannot be resolved stay as they are written."""
    hints: dict[str, Any] = {}
    for source in (getattr(inner, "__init__", None), inner) if inspect.isclass(inner) else (inner,):
        try:
            hints |= get_type_hints(source)
        except (NameError, TypeError):
            continue
    return hints


def _documentation(inner: Callable[..., Any]) -> str:
    """The inner documentation, with `conditions` at the head of its options."""
    described = "conditions: condition `{on: <reward>, at_least: <number>}` by name of the reward that it limits;"
    described += " with `otherwise: missing` it is left out where it does not count, in place of being 0."
    text = inspect.getdoc(inner) or f"{_name(inner)}."
    head, found, tail = text.partition("\nArgs:\n")
    if not found:
        return f"{text}\n\nArgs:\n    {described}\n"
    return f"{head}{found}    {described}\n{tail}"
