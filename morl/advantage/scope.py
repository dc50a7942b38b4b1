"""How much an estimator has to see: a group at a time, or the whole batch."""

from __future__ import annotations

from typing import Literal, TypeAlias

from morl.errors import ConfigError

Scope: TypeAlias = Literal["group", "batch"]


def scope_of(part: object) -> Scope:
    """`group` where an estimator or a weighting says so in its attribute `scope`, and `batch` otherwise."""
    return "group" if getattr(part, "scope", "batch") == "group" else "batch"


def scope_of_parts(own: Scope, weighting: object) -> Scope:
    """That of an estimator which itself needs to see `own`, with a weighting."""
    return "batch" if "batch" in (own, scope_of(weighting)) else "group"


def check_group_scope(estimator: object, seam: str) -> None:
    """For a seam that hands over one group at a time.

    Raises:
        ConfigError: an estimator that needs the whole batch.
    """
    if scope_of(estimator) == "batch":
        raise ConfigError(
            f"{seam} hands over one group at a time, and {estimator!r} needs the whole batch: a part of its numbers are"
            " statistics of all groups. Use an estimator whose `scope` is 'group', such as grpo, grpo-no-std or gdpo"
            " with batch_norm: false and constant weights"
        )
