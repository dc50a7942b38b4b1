"""Learning-rate schedules: factors on `optimizer.lr` after the warm-up, and how they meet the warm-up.

With t = step / steps after the warm-up, each gives the factor that the schedule of its name in `transformers` gives;
`morl.optim.transformers_schedule` takes those themselves.

Importing this module loads no torch: `optimizer.schedule` is looked up before anything heavy is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from attrs import frozen
from jsonargparse.typing import PositiveFloat, PositiveInt

from morl.errors import ConfigError, PluginError, asking
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


@frozen
class CosineWithRestarts:
    """The learning rate falls to 0 along half a cosine several times (SGDR, arXiv 1608.03983).

    Args:
        cycles: how many times, each as long as the others.
    """

    cycles: PositiveInt = 2

    def __call__(self, step: int, steps: int) -> float:
        if step >= steps:
            return 0.0
        return (1 + math.cos(math.pi * (self.cycles * step / steps % 1.0))) / 2


@frozen
class Polynomial:
    """The learning rate falls to 0 as a power of the way that is left, (1 - t)^power.

    Args:
        power: 1 is a straight line; larger ones fall faster at first.
    """

    power: PositiveFloat = 1.0

    def __call__(self, step: int, steps: int) -> float:
        return math.pow(max(1 - step / max(steps, 1), 0.0), self.power)


@frozen
class InverseSqrt:
    """The learning rate falls as 1 / sqrt(1 + step / timescale) (arXiv 1706.03762), whatever the length of the run.

    Args:
        timescale: steps after the warm-up until it has fallen to 0.71; null takes those of the warm-up, or 10000
            without one.
    """

    timescale: PositiveInt | None = None

    def for_run(self, lr: float, warmup: int) -> InverseSqrt:
        return self if self.timescale is not None else InverseSqrt(warmup or 10_000)

    def __call__(self, step: int, steps: int) -> float:
        return 1 / math.sqrt(1 + step / (self.timescale or 10_000))


@frozen
class WarmupStableDecay:
    """The learning rate stays what it is, and falls to 0 in the last part of the run (WSD, arXiv 2404.06395).

    Args:
        decay_ratio: length of the last part, as a share of the steps after the warm-up.
        decay_steps: the same in steps; null takes `decay_ratio`.
        shape: of the fall: `linear`, `cosine`, or `1-sqrt`, 1 - sqrt(t).

    Raises:
        ConfigError: a share above 1; when called, `decay_steps` beyond the steps of the run.
    """

    decay_ratio: PositiveFloat = 0.1
    decay_steps: PositiveInt | None = None
    shape: Literal["linear", "cosine", "1-sqrt"] = "linear"

    def __attrs_post_init__(self) -> None:
        if self.decay_ratio > 1:
            raise ConfigError(f"decay_ratio is a share of the run, above 0 and up to 1; got {self.decay_ratio}")

    def __call__(self, step: int, steps: int) -> float:
        if self.decay_steps is not None and self.decay_steps > steps:
            raise ConfigError(
                f"decay_steps={self.decay_steps} must be at most the {steps} steps after the warm-up; the learning rate"
                " would begin below optimizer.lr"
            )
        decay = self.decay_steps or max(round(self.decay_ratio * steps), 1)
        t = min(max((step - (steps - decay)) / decay, 0.0), 1.0)
        if self.shape == "linear":
            return float(1 - t)
        return float((1 + math.cos(math.pi * t)) / 2 if self.shape == "cosine" else 1 - math.sqrt(t))


def warmup_steps(steps: int, ratio: float, total: int) -> int:
    """Steps of the warm-up: as they are given, or a share of the run, rounded up."""
    return steps or math.ceil(ratio * total)


def learning_rate_factor(
    schedule: Schedule, warmup: int, steps: int, lr: float = 1.0, min_lr: float = 0.0
) -> Callable[[int], float]:
    """Factor on the learning rate at each rollout batch of a run of `steps`: linear warm-up, then the schedule.

    Args:
        schedule: see `morl.hookspecs.Schedule`.
        warmup: steps of the warm-up.
        steps: of the run.
        lr: the learning rate that factors apply to.
        min_lr: what the learning rate falls to where the schedule says 0; in between it is
            min_lr + (lr - min_lr) * factor.

    The function that is returned raises:
        PluginError: the schedule fails, or answers no finite number of 0 or more; the message names it.
    """
    if (for_run := getattr(schedule, "for_run", None)) is not None:
        schedule = for_run(lr, warmup)
    least = min_lr / lr if min_lr else 0.0

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        of_schedule = _asked(schedule, step - warmup, max(steps - warmup, 0))
        return least + (1 - least) * of_schedule if least else of_schedule

    return factor


def _asked(schedule: Schedule, step: int, steps: int) -> float:
    name = f"schedule {getattr(schedule, '__name__', type(schedule).__name__)}"
    with asking(name, f"failed at step {step} of {steps}"):
        factor: object = schedule(step, steps)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < math.inf:
        raise PluginError(
            f"{name} returned {factor!r} at step {step} of {steps}; expected a factor on the learning rate, a finite"
            " number of 0 or more"
        )
    return float(factor)
