"""Rewards for how a conversation uses its tools, whatever they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from attrs import field, frozen, validators

from morl.types import Completion


@frozen
class CallsReward:
    """Two rewards: `valid`, the share of the calls that could be made and did not fail, and `few`.

    `few` is 1 without a call and falls by `1 / limit` with each, to 0.  Without a call, `valid` does not apply.

    Args:
        limit: of calls, valid or not.
    """

    limit: int = field(default=8, validator=validators.ge(1))

    reward_names: ClassVar[tuple[str, ...]] = ("valid", "few")
    reward_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def score(self, completions: Sequence[Completion]) -> dict[str, list[float | None]]:
        counts = [_counts(completion) for completion in completions]
        return {
            "valid": [None if calls == 0 else 1.0 - failed / calls for calls, failed in counts],
            "few": [max(0.0, 1.0 - calls / self.limit) for calls, _ in counts],
        }


def _counts(completion: Completion) -> tuple[int, int]:
    """Calls of a conversation, and those that failed."""
    counted = completion.info.get("conversation", {})
    return counted.get("tool_calls", 0), counted.get("failed_calls", 0)
