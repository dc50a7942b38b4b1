"""One entry of the config's `rewards`: a provider, and what morl does with its scores."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from attrs import frozen

from morl.errors import ConfigError, suggest
from morl.hookspecs import RewardProvider
from morl.reward.environment import EnvironmentRewards
from morl.types import Prompt, check_bounds

OnFailure: TypeAlias = Literal["abstain", "zero", "drop", "raise"]


@frozen
class When:
    """Which rows a reward applies to: those where a column has a value, or one of several.

    Attributes:
        column: of the prompts; a row without it is none of them.
        values: that it may have.

    >>> when = When.of({"column": "task", "is": "math"})
    >>> [when(Prompt("2+2?", {"task": task})) for task in ("math", "chat")]
    [True, False]
    """

    column: str
    values: tuple[object, ...]

    @classmethod
    def of(cls, given: object) -> When:
        """From `{column: .., is: ..}`, a value or a list of them.

        Raises:
            ConfigError: anything else.
        """
        if not isinstance(given, Mapping) or {*given} != {"column", "is"} or not isinstance(given["column"], str):
            raise ConfigError(f"`when` must be {{column: NAME, is: VALUE}}, or a list of values; got {given!r}")
        wanted = given["is"]
        values = tuple(wanted) if isinstance(wanted, list | tuple) else (wanted,)
        if not values or any(isinstance(value, Mapping | list) for value in values):
            raise ConfigError(
                f"`is` of `when` must be a text, a number, true, false, or a list of them; got {wanted!r}"
            )
        return cls(given["column"], values)

    def __call__(self, prompt: Prompt) -> bool:
        """Whether the reward applies to the completions of this prompt."""
        found = prompt.columns.get(self.column)
        # In Python True is 1.
        return any(found == value and isinstance(found, bool) == isinstance(value, bool) for value in self.values)


@frozen(eq=False)
class RewardEntry:
    """A reward provider with its weight, its time limit and its failure policy.

    Attributes:
        provider: scores completions.
        weight: of the reward; for a provider of several rewards one weight for all of them, or a mapping by reward
            name (1 where a name is absent).
        timeout: seconds that one call may take; None waits for ever.  A call is the scoring of all completions of the
            step, or, where the provider says `per_completion`, of one of them.
        on_failure: what a completion gets whose score failed: `abstain` leaves it out of this reward (NaN), `zero`
            scores it 0, `drop` takes the completion out of the update, `raise` ends the run.
        bounds: lowest and highest score; for a provider of several rewards one pair for all of them, or a mapping by
            reward name; None takes what the provider declares in `reward_bounds`.
        max_failed_steps: the run ends after so many steps in a row in which a reward failed on every completion, and
            after the first of them where it has never given a score; None ends it never.
        when: the rows that the provider is asked about; None asks about all.  Elsewhere its rewards are missing.
    """

    provider: RewardProvider
    weight: float | Mapping[str, float] = 1.0
    timeout: float | None = 60.0
    on_failure: OnFailure = "abstain"
    bounds: Sequence[float] | Mapping[str, Sequence[float]] | None = None
    max_failed_steps: int | None = 3
    when: When | None = None

    def applies(self, prompt: Prompt) -> bool:
        """Whether the provider is asked about completions of this prompt."""
        return self.when is None or self.when(prompt)


def reward_names(name: str, entry: RewardEntry) -> tuple[str, ...]:
    """Names of the rewards of the entry called `name`, after a look at everything that can be wrong with it.

    Raises:
        ConfigError: no provider, unusable `reward_names`, an unknown policy, a time limit that is not positive.
    """
    if not callable(getattr(entry.provider, "score", None)):
        raise ConfigError(
            f"reward {name!r}: {type(entry.provider).__name__} is not a reward provider: it has no method"
            " `score(completions)` (wrap a plain function in morl.reward.FunctionReward)"
        )
    policies = get_args(OnFailure)
    if entry.on_failure not in policies:
        raise ConfigError(
            f"reward {name!r}: unknown on_failure {entry.on_failure!r}{suggest(str(entry.on_failure), policies)};"
            f" choose from {', '.join(policies)}"
        )
    if entry.timeout is not None and not 0 < entry.timeout <= threading.TIMEOUT_MAX:
        raise ConfigError(
            f"reward {name!r}: timeout must be positive seconds below {threading.TIMEOUT_MAX:.0e}, or null for none;"
            f" got {entry.timeout}"
        )
    patience = entry.max_failed_steps
    if patience is not None and (isinstance(patience, bool) or not isinstance(patience, int) or patience < 1):
        raise ConfigError(f"reward {name!r}: max_failed_steps must be a whole number from 1, or null; got {patience!r}")
    if getattr(entry.provider, "reward_names", None) is None:
        return (name,)
    if isinstance(entry.provider, EnvironmentRewards):
        return entry.provider.reward_names
    return _strings(name, entry.provider, "reward_names")


def reward_weights(name: str, entry: RewardEntry, names: Iterable[str]) -> dict[str, float]:
    """Weight of each of the entry's rewards.

    Raises:
        ConfigError: a weight for a reward that the provider does not return, or one that is not a finite number.
    """
    names = tuple(names)
    if isinstance(entry.weight, Mapping):
        if getattr(entry.provider, "reward_names", None) is None:
            raise ConfigError(
                f"reward {name!r} is a single reward: its weight must be one number; got {dict(entry.weight)}"
            )
        for key in entry.weight:
            if key not in names:
                raise ConfigError(
                    f"reward {name!r}: weight for unknown reward {key!r}{suggest(str(key), names)};"
                    f" it returns {', '.join(names)}"
                )
        weights = {each: entry.weight.get(each, 1.0) for each in names}
    else:
        weights = dict.fromkeys(names, entry.weight)
    for each, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise ConfigError(f"the weight of reward {each!r} must be a finite number; got {weight!r}")
    return {each: float(weight) for each, weight in weights.items()}


def reward_bounds(name: str, entry: RewardEntry, names: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Bounds of those of the entry's rewards that have some.

    Raises:
        ConfigError: bounds of a reward that the provider does not return, that are not two numbers, the lower first, or
            that no score can lie in.
    """
    names = tuple(names)
    declared: dict[str, tuple[float, float]] = {}
    for where, given in (
        (f"`reward_bounds` of {type(entry.provider).__name__}", getattr(entry.provider, "reward_bounds", None)),
        ("bounds", entry.bounds),
    ):
        by_name = given if isinstance(given, Mapping) else dict.fromkeys(names, given) if given is not None else {}
        for key, pair in by_name.items():
            if key not in names:
                raise ConfigError(
                    f"reward {name!r}: {where} for unknown reward {key!r}{suggest(str(key), names)};"
                    f" it returns {', '.join(names)}"
                )
            (low, high), known = check_bounds(f"reward {name!r}: {where}", pair), declared.get(key)
            if known is not None and (low > known[1] or high < known[0]):
                raise ConfigError(
                    f"reward {name!r}: bounds [{low:g}, {high:g}] contradict [{known[0]:g}, {known[1]:g}], which"
                    f" {type(entry.provider).__name__} declares: every score would be outside"
                )
            declared[key] = low, high
    return {key: declared[key] for key in names if key in declared}


def required_columns(name: str, entry: RewardEntry) -> tuple[str, ...]:
    """Columns that the entry's provider needs.

    Raises:
        ConfigError: `required_columns` is not a sequence of names.
    """
    if not getattr(entry.provider, "required_columns", ()):
        return ()
    return _strings(name, entry.provider, "required_columns")


def _strings(name: str, provider: RewardProvider, attribute: str) -> tuple[str, ...]:
    found = getattr(provider, attribute)
    strings = tuple(found) if isinstance(found, Iterable) and not isinstance(found, str) else ()
    if not strings or not all(isinstance(each, str) and each for each in strings) or len({*strings}) != len(strings):
        raise ConfigError(
            f"reward {name!r}: `{attribute}` of {type(provider).__name__} must be distinct names, e.g. ('a', 'b');"
            f" got {found!r}"
        )
    return strings
