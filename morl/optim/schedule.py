"""Learning-rate schedules: factors on `optimizer.lr` after the warm-up, and how they meet the warm-up.

Importing this module needs attrs only: `optimizer.schedule` is looked up before anything heavy is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from attrs import frozen

from morl.errors import MorlError, PluginError
from morl.hookspecs import Schedule


@frozen
class Constant:
    """The learning rate stays what it is."""

    def __call__(self, step: int, steps: int) -> float:
        return 1.0


@frozen
class Linear:
    """The learning rate falls to 0 in a straight line."""

    def __call__(self, step: int, steps: int) -> float:
        return max(1 - step / max(steps, 1), 0.0)


@frozen
class Cosine:
    """The learning rate falls to 0 along half a cosine."""

    def __call__(self, step: int, steps: int) -> float:
        return (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0))) / 2


def learning_rate_factor(schedule: Schedule, warmup: int, steps: int) -> Callable[[int], float]:
    """Factor on the learning rate at each rollout batch of a run of `steps`: linear warm-up, then the schedule.

    The function that is returned raises:
        PluginError: the schedule fails, or answers no finite number of 0 or more; the message names it.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return _asked(schedule, step - warmup, max(steps - warmup, 0))

    return factor


def _asked(schedule: Schedule, step: int, steps: int) -> float:
    name = f"schedule {getattr(schedule, '__name__', type(schedule).__name__)}"
    try:
        factor = schedule(step, steps)
    except MorlError as error:
        raise type(error)(f"{name}: {error}") from error
    except Exception as error:
        raise PluginError(f"{name} failed at step {step} of {steps}: {type(error).__name__}: {error}") from error
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < math.inf:
        raise PluginError(
            f"{name} returned {factor!r} at step {step} of {steps}; expected a factor on the learning rate, a finite"
            " number of 0 or more"
        )
    return float(factor)
