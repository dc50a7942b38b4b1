"""The rewards that an environment gives, as those of a provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from morl.errors import ConfigError
from morl.hookspecs import Environment
from morl.types import Completion, CompletionStatus

FAILURES = (CompletionStatus.ENVIRONMENT_FAILED, CompletionStatus.ENVIRONMENT_TIMEOUT)
"""Statuses of conversations that ended because their environment failed."""


class EnvironmentFailedError(RuntimeError):
    """What stands in place of the scores of a conversation whose environment failed."""


@frozen(eq=False)
class EnvironmentRewards:
    """Sums up, for each completion, what its turns were given; a reward that no turn was given is missing.

    Attributes:
        environment: gave them.
        reward_names: that it declares; none where it gives no rewards.

    Raises:
        ConfigError: names that are none.
    """

    environment: Environment

    def __attrs_post_init__(self) -> None:
        found = getattr(self.environment, "reward_names", ()) or ()
        legal = not isinstance(found, str) and all(isinstance(name, str) and name for name in found)
        if not legal or len({*found}) != len(tuple(found)):
            raise ConfigError(
                f"environment: `reward_names` of {type(self.environment).__name__} must be distinct names, e.g."
                f" ('a', 'b'); got {found!r}"
            )

    @property
    def reward_names(self) -> tuple[str, ...]:
        return tuple(getattr(self.environment, "reward_names", ()) or ())

    @property
    def reward_bounds(self) -> Any:
        """As the environment declares them."""
        return getattr(self.environment, "reward_bounds", None)

    @property
    def required_columns(self) -> Sequence[str]:
        """Of every prompt."""
        return getattr(self.environment, "required_columns", None) or ()

    def score(self, completions: Sequence[Completion]) -> Mapping[str, list[float | Exception | None]]:
        """By reward name; an exception for a conversation whose environment failed."""
        return {name: [_sum(completion, name) for completion in completions] for name in self.reward_names}


def failed(completion: Completion) -> bool:
    """Whether the environment failed in this conversation."""
    return completion.status in FAILURES


def failure(completion: Completion) -> Exception:
    """With what."""
    reason = str(completion.info.get("failure", completion.status.value))
    late = completion.status is CompletionStatus.ENVIRONMENT_TIMEOUT
    return TimeoutError(reason.removeprefix("TimeoutError: ")) if late else EnvironmentFailedError(reason)


def _sum(completion: Completion, name: str) -> float | Exception | None:
    if failed(completion):
        return failure(completion)
    given = [turn.rewards[name] for turn in completion.turns if turn.rewards.get(name) is not None]
    return sum(given) if given else None  # type: ignore[arg-type]
