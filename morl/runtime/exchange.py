"""What ranks tell each other outside the gradient: small matrices and sums."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch.distributed as dist
from attrs import frozen
from lightning_utilities.core.rank_zero import rank_zero_only

from morl.errors import MorlError, RewardError

T = TypeVar("T")


def is_first_rank() -> bool:
    """Whether this process speaks for the run; known from the environment, before the ranks have met."""
    # With Lightning's own launcher on several nodes, the first process of each knows no rank but its node's.
    first_node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")) == "0"
    return first_node and getattr(rank_zero_only, "rank", None) in (None, 0)


@frozen
class Exchange:
    """This process among the ranks of the run; alone where torch.distributed is not initialised.

    Attributes:
        group: in which they talk; None: that of the whole run.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    @classmethod
    def current(cls) -> Exchange:
        """As torch.distributed says now."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @classmethod
    def apart(cls) -> Exchange:
        """The same ranks in a group of their own, on CPUs, for a thread beside the loop; every rank must call."""
        now = cls.current()
        return now if now.size == 1 else cls(now.rank, now.size, dist.new_group(backend="gloo"))

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in rank order, on every rank.  For small CPU values; every rank must call."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value, self.group)
        return values  # type: ignore[return-value]

    def together(self, function: Callable[[], T]) -> T:
        """What `function` returns on this rank, if it ends well on every rank; every rank must call.

        Raises:
            MorlError: it ended with one on some rank.  All ranks end then, for the others would wait for that one.
        """
        result: list[T] = []
        own: MorlError | None = None
        try:
            result.append(function())
        except MorlError as error:
            own = error
        told = self.gather(None if own is None else str(own))
        if own is not None:
            raise own
        for rank, message in enumerate(told):
            if message is not None:
                raise RewardError(f"rank {rank} ended: {message}")
        return result[0]

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Key by key over all ranks, in rank order, so that every rank gets the same bits."""
        total: dict[str, float] = {}
        for part in self.gather(dict(values)):
            for key, value in part.items():
                total[key] = total.get(key, 0.0) + value
        return total

    def share(self, count: int) -> range:
        """The part of `range(count)` that falls to this rank: contiguous, as even as possible."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)
