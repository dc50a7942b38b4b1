"""The learning-rate schedules of `transformers`, by the names that its trainers know them by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from attrs import evolve, field, frozen

from morl.errors import ConfigError, suggest

_NOT_OF_STEPS = ("reduce_lr_on_plateau", "greedy")
"""Those that follow a metric."""


@frozen
class TransformersSchedule:
    """A schedule of `transformers.get_scheduler`, from the end of morl's warm-up on.

    Args:
        type: its name, such as `cosine_with_min_lr`, as `lr_scheduler_type` of transformers' trainers.
        kwargs: its options, as `lr_scheduler_kwargs`.

    Raises:
        ConfigError: a name that transformers does not know, or of a schedule that follows a metric; other options.
    """

    type: str
    kwargs: Mapping[str, Any] = field(factory=dict)
    _lr: float = field(init=False, default=1.0)
    _warmup: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        from transformers import SchedulerType

        known = [kind.value for kind in SchedulerType if kind.value not in _NOT_OF_STEPS]
        if self.type in _NOT_OF_STEPS:
            raise ConfigError(
                f"type: {self.type} follows a metric, and morl's schedules the steps; take one of {known}"
            )
        if self.type not in known:
            raise ConfigError(f"type: transformers has no schedule {self.type!r}{suggest(self.type, known)}: {known}")
        if self.kwargs and self.type.startswith("constant"):
            raise ConfigError(f"kwargs: transformers' schedule {self.type} takes no kwargs; leave them out")
        self._factors(2)

    def for_run(self, lr: float, warmup: int) -> TransformersSchedule:
        made = evolve(self)
        object.__setattr__(made, "_lr", lr)
        object.__setattr__(made, "_warmup", warmup)
        made._factors(2)
        return made

    def __call__(self, step: int, steps: int) -> float:
        return float(self._factors(steps)(self._warmup + step))

    def _factors(self, steps: int) -> Callable[[int], float]:
        """The function of the step inside the scheduler, which is a factor on the learning rate."""
        from transformers import get_scheduler

        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=self._lr or 1.0)
        try:
            scheduler: Any = get_scheduler(
                self.type,
                optimizer,
                num_warmup_steps=self._warmup,
                num_training_steps=self._warmup + steps,
                scheduler_specific_kwargs=dict(self.kwargs),
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"transformers' schedule {self.type} refuses its kwargs: {error}") from error
        found: Callable[[int], float] = scheduler.lr_lambdas[0]
        return found
